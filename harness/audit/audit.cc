#include "harness/audit/audit.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "harness/audit/compare.h"
#include "harness/audit/device_sweep.h"
#include "harness/audit/diagnosis.h"
#include "harness/audit/explain.h"
#include "harness/audit/findings.h"
#include "harness/audit/judge.h"
#include "harness/audit/measure.h"
#include "harness/audit/merge_base.h"
#include "harness/audit/plan.h"
#include "kernels/core/error.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

// Tensors are taken in batches of about this many elements: their factors, and nothing else, are in
// memory.
constexpr std::int64_t kBatchElements = 1 << 24;
constexpr std::int64_t kUnitElements = 1 << 17;

bool is_target(const AuditItem& item) {
  return item.kind == ItemKind::kTarget || item.kind == ItemKind::kBias;
}

bool is_compared(const AuditItem& item) {
  return item.kind == ItemKind::kUntouched || item.kind == ItemKind::kReplaced ||
         item.kind == ItemKind::kReplacedRows || item.kind == ItemKind::kTiedHead ||
         item.kind == ItemKind::kUntiedHead;
}

/// Elements that only their bytes can speak for are compared as bytes.
TensorView as_bytes(const TensorView& view) {
  if (is_plain(view.dtype) || view.dtype == DType::kF64) {
    return view;
  }
  TensorView bytes = view;
  bytes.dtype = DType::kU8;
  bytes.shape = {static_cast<std::int64_t>(view.bytes)};
  return bytes;
}

DeltaRows make_delta(const AuditItem& item, std::optional<DType> cast = {}) {
  return item.kind == ItemKind::kBias ? DeltaRows::for_bias(*item.delta, cast)
                                      : DeltaRows(*item.delta, cast);
}

/// The dtype that all of the pair's tensors are values of.
DType adapter_dtype(const AuditItem& item) {
  const AdapterModule& module = *item.delta->module;
  if (item.kind == ItemKind::kBias) {
    return module.bias.dtype;
  }
  return module.a.dtype == module.b.dtype ? module.a.dtype : DType::kF32;
}

/// One tensor of the batch in work.
struct Work {
  AuditItem* item = nullptr;
  std::vector<DecodedHold> holds;
  const StoredTensor* stored = nullptr;  // merged's tensor as it lies in the file
  StoredTensor altered;                  // what stands in for it while the batch is in work
  std::vector<std::byte> altered_bytes;
  std::unique_ptr<DeltaRows> delta;
  TargetViews views;
  ExpectedBytes expected;
  TensorView merged;
  std::vector<TargetMeasure> measures;  // per unit
  DeviceSweep swept;                    // of a target that a device took
  std::vector<CompareMeasure> compares;
};

struct Unit {
  Work* work = nullptr;
  std::size_t part = 0;
  std::int64_t begin = 0;  // rows of a target, elements of another
  std::int64_t end = 0;
};

class Auditor {
 public:
  Auditor(const AuditInputs& inputs, ThreadPool& pool, const AuditOptions& options)
      : inputs_(inputs),
        pool_(pool),
        options_(options),
        plan_(make_plan(inputs.base, inputs.merged, inputs.attached)) {
    if (options.trained_on != nullptr) {
      trained_on_.emplace(*options.trained_on);
    }
  }

  AuditOutcome run() {
    std::size_t begin = 0;
    judgements_.resize(plan_.items.size());
    for (const AuditItem& item : plan_.items) {
      total_ += item.merged == nullptr ? 0 : item.merged->view.bytes;
    }
    while (begin < plan_.items.size()) {
      std::size_t end = begin;
      std::int64_t elements = 0;
      while (end < plan_.items.size() && (end == begin || elements < kBatchElements)) {
        const AuditItem& item = plan_.items[end++];
        elements += item.merged == nullptr ? 0 : item.merged->view.elements();
      }
      run_batch(begin, end);
      begin = end;
    }
    inputs_.base.check_intact();
    inputs_.merged.check_intact();
    if (trained_on_) {
      trained_on_->checkpoint().check_intact();
    }
    inputs_.adapter.check_intact();
    return outcome();
  }

 private:
  void run_batch(std::size_t begin, std::size_t end) {
    std::vector<Work> batch;
    for (std::size_t i = begin; i < end; ++i) {
      AuditItem& item = plan_.items[i];
      if (is_target(item) || is_compared(item)) {
        Work& work = batch.emplace_back();
        work.item = &item;
        work.stored = item.merged;
        prefetch(item);
      }
    }
    pool_.for_chunks(static_cast<std::int64_t>(batch.size()), 1,
                     [&](std::int64_t first, std::int64_t last) {
                       for (std::int64_t i = first; i < last; ++i) {
                         prepare(batch[to_index(i)]);
                       }
                     });
    std::vector<Unit> units;
    for (Work& work : batch) {
      cut(work, units);
      if (options_.device != nullptr && work.delta != nullptr) {
        work.swept.run(*options_.device, work.views, step_of(work));
      }
    }
    pool_.for_chunks(static_cast<std::int64_t>(units.size()), 1,
                     [&](std::int64_t first, std::int64_t last) {
                       for (std::int64_t i = first; i < last; ++i) {
                         measure(units[to_index(i)]);
                       }
                     });
    std::size_t next = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const AuditItem& item = plan_.items[i];
      if (is_target(item) || is_compared(item)) {
        judgements_[i] = judge(batch[next++]);
      } else if (item.kind != ItemKind::kExcused) {
        judgements_[i] = judge_absent(item, inputs_.merged.config());
      }
      done_ += item.merged == nullptr ? 0 : item.merged->view.bytes;
    }
    for (const Work& work : batch) {
      work.item->merged = work.stored;
      release(*work.item);
    }
    if (options_.progress) {
      options_.progress(done_, total_);
    }
  }

  void prefetch(const AuditItem& item) const {
    inputs_.merged.prefetch(*item.merged);
    if (item.base != nullptr && item.kind != ItemKind::kTiedHead) {
      inputs_.base.prefetch(*item.base);
    }
  }

  void release(const AuditItem& item) const {
    inputs_.merged.release(*item.merged);
    if (item.base != nullptr && item.kind != ItemKind::kTiedHead) {
      inputs_.base.release(*item.base);
    }
  }

  void prepare(Work& work) const {
    work.holds = work.item->hold();
    if (options_.altered != nullptr && options_.altered->alters(*work.stored)) {
      work.altered_bytes = options_.altered->read(*work.stored);
      work.altered = *work.stored;
      work.altered.view.data = work.altered_bytes.data();
      work.item->merged = &work.altered;
    }
    const AuditItem& item = *work.item;
    if (is_target(item)) {
      work.delta = std::make_unique<DeltaRows>(make_delta(item));
      const bool codes = item.base != nullptr && item.base->quantised != nullptr &&
                         item.start.data == item.base->view.data;
      work.views = {item.start, item.merged->view, work.delta.get(),
                    codes ? std::optional(item.base->quantised->library_dtype) : std::nullopt};
      return;
    }
    work.merged = as_bytes(item.merged->view);
    work.expected.whole = as_bytes(item.start);
    if (item.kind == ItemKind::kReplacedRows) {
      work.expected.part = item.replacement->value;
      work.expected.rows = item.replacement->rows;
    }
  }

  /// Rows of a target, elements of another, that make a unit.
  static std::int64_t step_of(const Work& work) {
    return work.delta != nullptr ? rows_per_block(*work.delta, kUnitElements) : 4 * kUnitElements;
  }

  static void cut(Work& work, std::vector<Unit>& units) {
    const bool target = work.delta != nullptr;
    const std::int64_t all = target ? work.delta->rows() : work.merged.elements();
    const std::int64_t step = step_of(work);
    std::size_t part = 0;
    for (std::int64_t begin = 0; begin < all; begin += step) {
      units.push_back({&work, part++, begin, std::min(all, begin + step)});
    }
    work.measures.resize(target ? part : 0);
    work.compares.resize(target ? 0 : part);
  }

  static void measure(const Unit& unit) {
    Work& work = *unit.work;
    if (!work.swept.empty()) {
      work.measures[unit.part] = work.swept.measure(work.views, unit.part, unit.begin, unit.end);
    } else if (work.delta != nullptr) {
      work.measures[unit.part] = measure_rows(work.views, unit.begin, unit.end);
    } else {
      work.compares[unit.part] = compare_elements(work.expected, work.merged, unit.begin, unit.end);
    }
  }

  /// A tool that merges in the base's dtype and stores another rounds what the adapter trained
  /// twice.
  static CompareMeasure with_base_rounding(const Work& work, const CompareMeasure& once) {
    const AuditItem& item = *work.item;
    const bool replaced = item.kind == ItemKind::kReplaced || item.kind == ItemKind::kReplacedRows;
    if (!replaced || once.differing == 0 || item.base == nullptr ||
        !is_plain(item.base->used_dtype()) || item.base->used_dtype() == work.merged.dtype ||
        !is_plain(work.merged.dtype)) {
      return once;
    }
    ExpectedBytes expected = work.expected;
    expected.via = item.base->used_dtype();
    const CompareMeasure twice = compare_elements(expected, work.merged, 0, work.merged.elements());
    return twice.differing == 0 ? twice : once;
  }

  ItemJudgement judge(const Work& work) const {
    if (work.delta == nullptr) {
      CompareMeasure total;
      for (const CompareMeasure& part : work.compares) {
        total.add(part);
      }
      if (total.differing > 0) {
        if (std::optional<ItemJudgement> judgement = judge_bytes_on_trained(work)) {
          return std::move(*judgement);
        }
      }
      return judge_bytes({plan_, *work.item, with_base_rounding(work, total)});
    }
    TargetMeasure total;
    for (const TargetMeasure& part : work.measures) {
      total.add(part);
    }
    if (trained_on_) {
      const std::optional<OtherBaseCase> other =
          trained_on_->measure(*work.item, work.views, total, pool_);
      if (other) {
        const bool nearer = other->measure.residual_square < total.residual_square;
        ItemJudgement judgement = nearer ? judge_measured(other->item, other->views, other->measure)
                                         : judge_measured(*work.item, work.views, total);
        judgement.base_gap = other->gap;
        judgement.on_trained_base = nearer;
        return judgement;
      }
    }
    return judge_measured(*work.item, work.views, total);
  }

  ItemJudgement judge_measured(const AuditItem& item, const TargetViews& views,
                               const TargetMeasure& total) const {
    const DType adapter = adapter_dtype(item);
    const Explanation best = find_recipe(
        views, [&](std::optional<DType> cast) { return make_delta(item, cast); }, adapter, total,
        pool_);
    return judge_target({plan_, item, inputs_.adapter.config(), inputs_.base.config(), views,
                         adapter, total, best, pool_});
  }

  /// A tensor without a delta that is not the base's: maybe that of the base trained on.
  std::optional<ItemJudgement> judge_bytes_on_trained(const Work& work) const {
    const StoredTensor* other = trained_on_ && work.item->kind == ItemKind::kUntouched
                                    ? trained_on_->find(*work.item->base)
                                    : nullptr;
    if (other == nullptr) {
      return std::nullopt;
    }
    AuditItem item = *work.item;
    item.base = other;
    item.base_owner = &trained_on_->checkpoint();
    item.start = other->view;
    const std::vector<DecodedHold> holds = item.hold();
    const CompareMeasure measure =
        compare_elements({.whole = other->view}, work.merged, 0, work.merged.elements());
    if (measure.differing > 0) {
      return std::nullopt;
    }
    return judge_bytes({plan_, item, measure});
  }

  AuditOutcome outcome() const {
    AuditOutcome out;
    out.findings = make_findings(inputs_, plan_, judgements_);
    out.merged_into = merged_into(judgements_);
    if (trained_on_) {
      if (std::optional<Finding> f = merge_base_finding(judgements_, trained_on_->checkpoint())) {
        const auto after =
            std::find_if(out.findings.begin(), out.findings.end(), [&](const Finding& other) {
              return static_cast<int>(other.severity) > static_cast<int>(f->severity);
            });
        out.findings.insert(after, std::move(*f));
      }
    }
    for (std::size_t i = 0; i < plan_.items.size(); ++i) {
      if (plan_.items[i].kind != ItemKind::kExcused) {
        add_row(judgements_[i].audit, out);
      }
    }
    out.result.recipe = whole_recipe();
    out.not_checked = out.not_checked || has_unread_weights(out.findings);
    return out;
  }

  static void add_row(const TensorAudit& row, AuditOutcome& out) {
    AuditSummary& summary = out.result.summary;
    switch (row.tensor_class) {
      case TensorClass::kTarget:
        ++summary.target;
        break;
      case TensorClass::kUntouched:
        ++summary.untouched;
        break;
      case TensorClass::kReplaced:
        ++summary.replaced;
        break;
      case TensorClass::kMissing:
        ++summary.missing;
        break;
      case TensorClass::kExtra:
        ++summary.extra;
        break;
      case TensorClass::kRenamed:
        ++summary.renamed;
        break;
      case TensorClass::kNotChecked:
        ++summary.not_checked;
        break;
    }
    const bool open =
        row.verdict == GateStatus::kInconclusive || row.verdict == GateStatus::kNotRun;
    out.not_checked = out.not_checked || open;
    out.result.tensors.push_back(row);
  }

  /// The recipe most elements were merged by; tensors merged otherwise are its exceptions.
  MergeRecipe whole_recipe() const {
    std::vector<std::pair<std::string, std::int64_t>> counts;  // in order of appearance
    std::int64_t elements = 0;
    for (const ItemJudgement& judgement : judgements_) {
      if (!judgement.recipe || judgement.zero_delta) {
        continue;
      }
      elements += judgement.audit.elements;
      const auto found = std::find_if(counts.begin(), counts.end(), [&](const auto& entry) {
        return entry.first == judgement.recipe->name;
      });
      if (found == counts.end()) {
        counts.emplace_back(judgement.recipe->name, judgement.explained);
      } else {
        found->second += judgement.explained;
      }
    }
    MergeRecipe recipe;
    if (counts.empty()) {
      return recipe;
    }
    const auto best =
        std::max_element(counts.begin(), counts.end(),
                         [](const auto& x, const auto& y) { return x.second < y.second; });
    recipe.name = best->first;
    recipe.share =
        elements == 0 ? 0.0 : static_cast<double>(best->second) / static_cast<double>(elements);
    for (const ItemJudgement& judgement : judgements_) {
      if (judgement.recipe && !judgement.zero_delta && judgement.recipe->name != recipe.name) {
        recipe.exceptions.push_back({judgement.audit.name, judgement.recipe->name});
      }
    }
    return recipe;
  }

  const AuditInputs& inputs_;
  ThreadPool& pool_;
  const AuditOptions& options_;
  AuditPlan plan_;
  std::optional<TrainedOn> trained_on_;
  std::vector<ItemJudgement> judgements_;  // in the plan's order
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace

AuditOutcome run_audit(const Checkpoint& base, const Adapter& adapter,
                       const AttachedAdapter& attached, const Checkpoint& merged, ThreadPool& pool,
                       const AuditOptions& options) {
  const AuditInputs inputs{base, adapter, attached, merged};
  return Auditor(inputs, pool, options).run();
}

}  // namespace mg
