#include "harness/audit/merge_base.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "harness/audit/quantised_story.h"
#include "harness/model/names.h"
#include "kernels/core/convert.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

constexpr std::int64_t kGapElements = 1 << 17;

/// |x - y|^2 over all elements; summed by blocks in their order, so that threads change no bit.
double square_distance(const TensorView& x, const TensorView& y, ThreadPool& pool) {
  const std::int64_t n = x.elements();
  std::vector<double> parts(to_index((n + kGapElements - 1) / kGapElements));
  pool.for_chunks(n, kGapElements, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> a(to_index(end - begin));
    std::vector<double> b(a.size());
    const auto read = [&](const TensorView& view, std::vector<double>& out) {
      const auto width = to_index(dtype_bits(view.dtype) / 8);
      widen_to_double(view.dtype, view.data + to_index(begin) * width, end - begin, out.data());
    };
    read(x, a);
    read(y, b);
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      sum += (a[i] - b[i]) * (a[i] - b[i]);
    }
    parts[to_index(begin / kGapElements)] = sum;
  });
  double sum = 0;
  for (const double part : parts) {
    sum += part;
  }
  return sum;
}

std::string formats_of(const Checkpoint& checkpoint) {
  std::set<std::string> names;
  for (const auto& tensor : checkpoint.quantised()) {
    names.insert(tensor->format);
  }
  return names.empty() ? "16-bit" : fmt::format("{}", fmt::join(names, " and "));
}

struct Gaps {
  std::vector<std::pair<double, std::string>> all;  // ascending

  explicit Gaps(const std::vector<ItemJudgement>& judgements) {
    for (const ItemJudgement& judgement : judgements) {
      if (judgement.base_gap) {
        all.emplace_back(*judgement.base_gap, judgement.audit.name);
      }
    }
    std::sort(all.begin(), all.end());
  }
};

}  // namespace

TrainedOn::TrainedOn(const Checkpoint& checkpoint) : checkpoint_(&checkpoint) {
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    by_name_.emplace(canonical_name(tensor.name), &tensor);
  }
}

const StoredTensor* TrainedOn::find(const StoredTensor& base) const {
  const auto found = by_name_.find(canonical_name(base.name));
  const bool usable = found != by_name_.end() && found->second->view.shape == base.view.shape &&
                      is_plain(found->second->view.dtype);
  return usable ? found->second : nullptr;
}

std::optional<OtherBaseCase> TrainedOn::measure(const AuditItem& item, const TargetViews& views,
                                                const TargetMeasure& own, ThreadPool& pool) const {
  const StoredTensor* other = item.base == nullptr ? nullptr : find(*item.base);
  if (item.kind != ItemKind::kTarget || item.delta == nullptr || other == nullptr ||
      item.start.data != item.base->view.data) {
    return std::nullopt;
  }
  OtherBaseCase result;
  result.item = item;
  result.item.base = other;
  result.item.base_owner = checkpoint_;
  result.item.start = other->view;
  result.holds = result.item.hold();
  const double gap = square_distance(item.base->view, other->view, pool);
  if (own.delta_square > 0.0) {
    result.gap = std::sqrt(gap / own.delta_square);
  }
  result.pair = std::make_unique<Hypothesis>(*item.delta);
  result.pair->base() = *other;
  result.item.delta = &result.pair->attached();
  result.delta = std::make_unique<DeltaRows>(result.pair->attached());
  result.views = {.base = other->view,
                  .merged = views.merged,
                  .delta = result.delta.get(),
                  .dequantised = other->quantised == nullptr
                                     ? std::nullopt
                                     : std::optional(other->quantised->library_dtype)};
  const std::int64_t step = rows_per_block(*result.delta, kGapElements);
  const std::int64_t rows = result.delta->rows();
  std::vector<TargetMeasure> parts(to_index((rows + step - 1) / step));
  pool.for_chunks(rows, step, [&](std::int64_t begin, std::int64_t end) {
    parts[to_index(begin / step)] = measure_rows(result.views, begin, end);
  });
  for (const TargetMeasure& part : parts) {
    result.measure.add(part);
  }
  return result;
}

MergedInto merged_into(const std::vector<ItemJudgement>& judgements) {
  std::int64_t base = 0;
  std::int64_t trained = 0;
  std::int64_t original = 0;
  for (const ItemJudgement& judgement : judgements) {
    const bool behind =
        std::any_of(judgement.stories.begin(), judgement.stories.end(),
                    [](const Story& story) { return story.diagnosis.key == kOriginalBase; });
    original += behind ? 1 : 0;
    if (judgement.audit.tensor_class == TensorClass::kTarget && !judgement.zero_delta && !behind) {
      ++(judgement.on_trained_base ? trained : base);
    }
  }
  if (original > base + trained) {
    return MergedInto::kOriginal;
  }
  return trained > base ? MergedInto::kTrainedOn : MergedInto::kBase;
}

std::optional<Finding> merge_base_finding(const std::vector<ItemJudgement>& judgements,
                                          const Checkpoint& trained_on) {
  const Gaps gaps(judgements);
  if (gaps.all.empty() || !(gaps.all.back().first > 0.0)) {
    return std::nullopt;
  }
  std::int64_t on_trained = 0;
  for (const ItemJudgement& judgement : judgements) {
    on_trained += judgement.base_gap && judgement.on_trained_base ? 1 : 0;
  }
  const auto all = static_cast<std::int64_t>(gaps.all.size());
  const std::string format = formats_of(trained_on);
  const auto& [median, of_median] = gaps.all[gaps.all.size() / 2];
  const auto& [largest, of_largest] = gaps.all.back();
  Finding f;
  f.rule = "audit.merge-base";
  f.catalogue = {"F28"};
  f.severity = on_trained == 0 ? Severity::kNote : Severity::kWarning;
  f.command = "audit";
  f.subject = "merged";
  f.message = fmt::format(
      "the adapter was trained on {} weights (--trained-on); merged was made from {}. The two "
      "bases "
      "differ by {:.3g} times the delta in the median tensor, by {:.3g} in {}",
      format,
      on_trained == 0     ? std::string("--base")
      : on_trained == all ? fmt::format("{}--trained-on, not from --base",
                                        trained_on.quantised().empty() ? "" : "the dequantised ")
                          : fmt::format("--trained-on in {} of {} adapted tensors, from --base in "
                                        "the others",
                                        on_trained, all),
      median, largest, of_largest);
  f.expected = "merged made from --base";
  f.actual = fmt::format("{} of {} adapted tensors are base + delta on --base, {} on --trained-on",
                         all - on_trained, all, on_trained);
  f.fix = Fix{false,
              "either merge can be the better one: `mergegauge check` with --trained-on says what "
              "each costs"};
  return f;
}

}  // namespace mg
