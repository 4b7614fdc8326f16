// The tables of stories: each row tests one, all that fit are reported.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "harness/audit/diagnosis.h"
#include "harness/audit/grids.h"
#include "harness/audit/hypothesis.h"
#include "harness/audit/quantised_story.h"
#include "harness/audit/scale_story.h"
#include "kernels/core/convert.h"
#include "kernels/core/rounding.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

// Broken elements are few; beyond this another story is the better one.
constexpr double kFewShare = 0.01;
constexpr std::int64_t kFewElements = 4;

bool is_few(std::int64_t count, std::int64_t elements) {
  return count <= kFewElements ||
         static_cast<double>(count) <= kFewShare * static_cast<double>(elements);
}

void read(const TensorView& view, std::int64_t from, std::int64_t n, std::vector<double>& out) {
  out.resize(to_index(n));
  const auto width = static_cast<std::size_t>(dtype_bits(view.dtype) / 8);
  widen_to_double(view.dtype, view.data + to_index(from) * width, n, out.data());
}

/// Rounded to merged's dtype, is the base what is stored?
bool equals_base(const TargetCase& c) {
  const CompareMeasure m =
      compare_elements({.whole = c.views.base}, c.views.merged, 0, c.views.merged.elements());
  return m.differing == 0;
}

std::optional<Diagnosis> unmerged_story(const TargetCase& c) {
  if (!c.views.delta->has_dora() || !equals_base(c)) {
    return std::nullopt;  // without DoRA the scale's bounds say so: k = 0
  }
  Diagnosis d;
  d.rule = "audit.not-merged";
  d.catalogue = {"F08"};
  d.key = "0";
  d.message = "is the base's: the delta is not in it";
  d.expected = "base + delta";
  d.actual = "base";
  d.fix = "merge again";
  return d;
}

std::optional<Diagnosis> constant_story(const TargetCase& c) {
  if (!is_constant(c.views.merged) || is_constant(c.views.base)) {
    return std::nullopt;
  }
  Diagnosis d;
  d.rule = "audit.constant";
  d.catalogue = {"F65"};
  d.message = c.measure.max_merged == 0.0 ? "is all zeros" : "holds one value everywhere";
  d.expected = "base + delta";
  d.actual = fmt::format("{} equal elements", c.measure.elements);
  d.fix = "merge again; the tensor was never written";
  return d;
}

/// M - D (a coarse base under the delta) and M itself (a merge quantised afterwards) on sample
/// rows.
struct GridValues {
  std::vector<double> base_used;
  std::vector<double> merged;
  std::vector<double> original;
  std::vector<double> noise;
};

GridValues grid_values(const TargetCase& c) {
  GridValues g;
  const GridFormat store = grid_format(c.views.merged.dtype);
  std::vector<double> d;
  std::vector<double> w;
  std::vector<double> m;
  for (const auto& [begin, end] : sample_rows(*c.views.delta, 16384)) {
    const std::int64_t n = (end - begin) * c.cols();
    d.resize(to_index(n));
    c.views.delta->compute(begin, end, d.data());
    read(c.views.base, begin * c.cols(), n, w);
    read(c.views.merged, begin * c.cols(), n, m);
    for (std::int64_t i = 0; i < n; ++i) {
      g.base_used.push_back(m[to_index(i)] - d[to_index(i)]);
      g.merged.push_back(m[to_index(i)]);
      g.original.push_back(w[to_index(i)]);
      g.noise.push_back(0.51 * ulp_of(m[to_index(i)], store));
    }
  }
  return g;
}

std::string_view grid_name(Grid grid) {
  return grid == Grid::kFourBit ? "4-bit" : "8-bit";
}

std::optional<Diagnosis> grid_story(const TargetCase& c) {
  if (c.item.kind != ItemKind::kTarget || c.cols() < 32) {
    return std::nullopt;
  }
  const GridValues g = grid_values(c);
  const std::vector<double> exact(g.merged.size(), 0.0);
  Diagnosis d;
  const Grid stored = find_grid(g.merged, exact, c.cols());
  const Grid original = find_grid(g.original, exact, c.cols());
  const Grid used = find_grid(g.base_used, g.noise, c.cols());
  if (stored != Grid::kNone && !c.views.delta->has_dora()) {
    d.rule = "audit.requantised";
    d.catalogue = {"F29"};
    d.message =
        original == Grid::kNone
            ? fmt::format(
                  "lies on a {} grid: the merge was quantised afterwards and its delta lies buried "
                  "in the new rounding",
                  grid_name(stored))
            : fmt::format(
                  "lies on the base's {} grid: quantising the merge again absorbed the delta",
                  grid_name(stored));
    d.fix = "merge in 16 bits or more and keep that; quantise with calibration afterwards";
  } else if (used != Grid::kNone && original == Grid::kNone) {
    d.rule = "audit.quantised-base";
    d.catalogue = {"F28"};
    d.message = fmt::format("is the delta on a {} round trip of the base, not on the base given",
                            grid_name(used));
    d.fix =
        "merge onto the 16-bit base, or audit against the dequantised base the adapter was trained "
        "on";
  } else {
    return std::nullopt;
  }
  d.expected = "base + delta";
  d.actual = fmt::format("c' {:.4g}, rho' {:.4g}", c.measure.c_remerge().value_or(0.0),
                         c.measure.rho_remerge().value_or(0.0));
  return d;
}

std::optional<Diagnosis> few_elements_story(const TargetCase& c) {
  if (!is_few(c.best.fit.unexplained, c.measure.elements)) {
    return std::nullopt;
  }
  Diagnosis d;
  d.rule = "audit.corrupted";
  d.catalogue = {"F65"};
  d.message =
      fmt::format("{} of {} elements are not what the merge gives ({} explains the rest): {}",
                  c.best.fit.unexplained, c.measure.elements, c.best.recipe.name,
                  describe_samples(c.views.merged, c.best.fit.samples));
  d.expected = "every element one of the merge's roundings";
  d.actual = fmt::format("{} elements off", c.best.fit.unexplained);
  d.fix = "copy the file again or merge again";
  return d;
}

/// No recipe, but the right delta: what is left is rounding of a kind not known here.
std::optional<Diagnosis> unknown_recipe_story(const TargetCase& c) {
  const double slope = c.measure.c_remerge().value_or(0.0);
  const double rest = c.measure.rho_remerge().value_or(1.0);
  // The limits of docs/reference/metrics.md section 9; an ulp or two of the larger of result and
  // delta.
  const bool close = std::fabs(slope - 1.0) <= 0.01 && rest <= 0.1 && c.measure.max_ulp() <= 2;
  if (!close) {
    return std::nullopt;
  }
  Diagnosis d;
  d.rule = "audit.unknown-recipe";
  d.severity = Severity::kWarning;
  d.message = fmt::format(
      "holds the whole delta, rounded in a way no known recipe gives ({:.3g} % of the elements "
      "are up to {} ulp off)",
      100.0 * c.best.fit.unexplained_share(), c.measure.max_ulp());
  d.expected = "a known merge recipe";
  d.actual = fmt::format("c' {:.5f}, rho' {:.4f}", slope, rest);
  d.fix = "merge with mergegauge merge or PEFT, or accept the difference by comparing outputs";
  return d;
}

Diagnosis differs_story(const TargetCase& c) {
  Diagnosis d;
  d.rule = "audit.target-differs";
  const double size =
      std::sqrt(c.measure.residual_square / std::max(c.measure.weight_square, 1e-300));
  // All of the delta, on something other than this base.
  const double slope = c.measure.c().value_or(0.0);
  if (std::fabs(slope - 1.0) < 0.1 && size > 1e-4) {
    d.catalogue = {"F27"};
  }
  d.message =
      fmt::format("is not base + delta: {} of {} elements are unexplained, and no known story fits",
                  c.best.fit.unexplained, c.measure.elements);
  d.expected = "base + delta";
  d.actual = fmt::format("c {:.4g}, rho {:.4g}, |M-W-D| {:.3g} of |W|", slope,
                         c.measure.rho().value_or(0.0), size);
  d.fix = "check that this base, this adapter and this merge belong together";
  return d;
}

using TargetTest = std::optional<Diagnosis> (*)(const TargetCase&);

// Stories of which one suffices: the first that fits ends the search.
constexpr auto kWholeStories = std::to_array<TargetTest>({
    constant_story,
    unmerged_story,
    requantised_story,
    original_base_story,
    scale_story,
    dora_story,
    transposed_story,
    slices_story,
    experts_story,
    partial_rank_story,
    wrong_pair_story,
    wrong_place_story,
    grid_story,
});

// ---- bytes ----

Diagnosis bytes_error(std::string rule, std::vector<std::string> ids, std::string message) {
  Diagnosis d;
  d.rule = std::move(rule);
  d.catalogue = std::move(ids);
  d.message = std::move(message);
  return d;
}

bool same_as(const TensorView& merged, const TensorView& other) {
  return other.shape == merged.shape && is_float(other.dtype) &&
         compare_elements({.whole = other}, merged, 0, merged.elements()).differing == 0;
}

/// merged == store(coarse(base)) everywhere.
bool went_through(const BytesCase& c, DType coarse) {
  const TensorView& merged = c.item.merged->view;
  const TensorView& base = c.item.start;
  if (!is_plain(merged.dtype) || !is_plain(base.dtype) || merged.dtype == coarse ||
      base.dtype == coarse) {
    return false;
  }
  constexpr std::int64_t kDetourChunk = 8192;
  std::vector<double> w;
  std::vector<double> m;
  for (std::int64_t at = 0; at < merged.elements(); at += kDetourChunk) {
    const std::int64_t n = std::min(kDetourChunk, merged.elements() - at);
    read(base, at, n, w);
    read(merged, at, n, m);
    round_in_place(coarse, w.data(), n);
    round_in_place(merged.dtype, w.data(), n);
    if (!std::equal(w.begin(), w.end(), m.begin())) {
      return false;
    }
  }
  return true;
}

std::optional<Diagnosis> constant_bytes(const BytesCase& c) {
  if (!is_constant(c.item.merged->view) || is_constant(c.item.start)) {
    return std::nullopt;
  }
  return bytes_error("audit.constant", {"F65"}, "holds one value everywhere");
}

std::optional<Diagnosis> detour_bytes(const BytesCase& c) {
  for (const DType coarse : {DType::kBF16, DType::kF16}) {
    if (went_through(c, coarse)) {
      Diagnosis d = bytes_error("audit.detour", {"F64"},
                                fmt::format("was rounded to {} on the way", dtype_name(coarse)));
      d.severity = Severity::kWarning;
      d.key = dtype_name(coarse);
      d.fix = "merge and save in the base's dtype or in FP32";
      return d;
    }
  }
  return std::nullopt;
}

std::optional<Diagnosis> misplaced_bytes(const BytesCase& c) {
  for (const AuditItem& other : c.plan.items) {
    if (&other == &c.item || other.base == nullptr || other.merged == nullptr ||
        other.start.shape != c.item.merged->view.shape) {
      continue;
    }
    const std::vector<DecodedHold> holds = other.hold();
    if (same_as(c.item.merged->view, other.start)) {
      return bytes_error("audit.wrong-place", {"F63"}, fmt::format("is {}'s tensor", other.name));
    }
  }
  return std::nullopt;
}

std::optional<Diagnosis> grid_bytes(const BytesCase& c) {
  const TensorView& merged = c.item.merged->view;
  const std::int64_t cols = merged.dim(0) == 0 ? 0 : merged.elements() / merged.dim(0);
  if (!is_plain(merged.dtype) || cols < 32 || merged.dim(0) < 8) {
    return std::nullopt;
  }
  const std::int64_t rows =
      std::min<std::int64_t>(merged.dim(0), std::max<std::int64_t>(8, 16384 / cols));
  std::vector<double> m;
  std::vector<double> w;
  read(merged, 0, rows * cols, m);
  read(c.item.start, 0, rows * cols, w);
  const std::vector<double> exact(m.size(), 0.0);
  const Grid grid = find_grid(m, exact, cols);
  if (grid == Grid::kNone || find_grid(w, exact, cols) != Grid::kNone) {
    return std::nullopt;
  }
  return bytes_error("audit.requantised", {"F29", "F27"},
                     fmt::format("lies on a {} grid", grid_name(grid)));
}

std::optional<Diagnosis> few_bytes(const BytesCase& c) {
  if (!is_few(c.measure.differing, c.measure.elements)) {
    return std::nullopt;
  }
  return bytes_error(
      "audit.corrupted", {"F65", "F27"},
      fmt::format("{} of {} elements changed: {}", c.measure.differing, c.measure.elements,
                  describe_samples(c.item.merged->view, c.measure.samples)));
}

Diagnosis other_base(const BytesCase& c) {
  const double size =
      std::sqrt(c.measure.difference_square / std::max(c.measure.expected_square, 1e-300));
  return bytes_error("audit.untouched-changed", {"F27"},
                     fmt::format("{} of {} elements changed, by {:.2g} of their size",
                                 c.measure.differing, c.measure.elements, size));
}

bool copies_merged_table(const BytesCase& c) {
  return std::any_of(c.plan.items.begin(), c.plan.items.end(), [&](const AuditItem& other) {
    const bool table =
        other.base == c.item.base && other.kind != ItemKind::kUntiedHead && other.merged != nullptr;
    if (!table) {
      return false;
    }
    const std::vector<DecodedHold> holds = other.hold();
    return same_as(c.item.merged->view, other.merged->view);
  });
}

using BytesTest = std::optional<Diagnosis> (*)(const BytesCase&);
constexpr auto kBytesStories = std::to_array<BytesTest>(
    {constant_bytes, original_base_bytes, detour_bytes, misplaced_bytes, grid_bytes, few_bytes});

/// What the adapter put there and merged does not hold.
std::optional<Diagnosis> not_replaced(const BytesCase& c) {
  const bool rows = c.item.kind == ItemKind::kReplacedRows;
  Diagnosis d;
  d.rule = "audit.not-replaced";
  d.catalogue = rows ? std::vector<std::string>{"F24", "F09"} : std::vector<std::string>{"F09"};
  d.expected = fmt::format("the adapter's {}", c.item.replacement->raw_name);
  d.fix = "copy the adapter's tensor into merged, in its stored dtype";
  if (c.item.base != nullptr && same_as(c.item.merged->view, c.item.base->view)) {
    d.message = rows ? "is the base's: the trained rows are not in it"
                     : "is the base's: the tensor the adapter trained was not copied in";
    d.actual = "the base's tensor";
    return d;
  }
  if (std::optional<Diagnosis> detour = detour_bytes(c)) {
    return detour;
  }
  if (is_few(c.measure.differing, c.measure.elements)) {
    return std::nullopt;
  }
  d.message = fmt::format("{} of {} elements are not the adapter's", c.measure.differing,
                          c.measure.elements);
  d.actual = "other values";
  return d;
}

}  // namespace

std::string element_place(const TensorView& view, std::int64_t i) {
  if (view.shape.size() < 2) {
    return fmt::format("element {}", i);
  }
  const std::int64_t cols =
      std::max<std::int64_t>(1, view.elements() / std::max<std::int64_t>(1, view.dim(0)));
  return fmt::format("row {}, column {}", i / cols, i % cols);
}

std::string describe_samples(const TensorView& view, const std::vector<ElementSample>& samples) {
  constexpr std::size_t kShown = 3;
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < std::min(kShown, samples.size()); ++i) {
    parts.push_back(fmt::format("{}: {:.8g} instead of {:.8g}",
                                element_place(view, samples[i].index), samples[i].merged,
                                samples[i].expected));
  }
  return fmt::format("{}{}", fmt::join(parts, "; "), samples.size() > kShown ? "; ..." : "");
}

std::vector<Diagnosis> diagnose_target(const TargetCase& c) {
  std::vector<Diagnosis> stories;
  for (const TargetTest test : kWholeStories) {
    if (std::optional<Diagnosis> story = test(c)) {
      stories.push_back(std::move(*story));
      break;
    }
  }
  // A couple of broken elements can pass for a scale where the rest of the delta drowned in the
  // store.
  if (stories.empty() || c.best.fit.unexplained <= kFewElements) {
    if (std::optional<Diagnosis> story = few_elements_story(c)) {
      stories.push_back(std::move(*story));
    }
  }
  if (stories.empty()) {
    std::optional<Diagnosis> story = unknown_recipe_story(c);
    stories.push_back(story ? std::move(*story) : differs_story(c));
  }
  return stories;
}

std::vector<Diagnosis> diagnose_bytes(const BytesCase& c) {
  const bool replaced =
      c.item.kind == ItemKind::kReplaced || c.item.kind == ItemKind::kReplacedRows;
  std::vector<Diagnosis> stories;
  if (replaced) {
    if (std::optional<Diagnosis> story = not_replaced(c)) {
      return {std::move(*story)};
    }
  }
  if (c.item.kind == ItemKind::kTiedHead) {
    Diagnosis d =
        bytes_error("audit.tied-head-differs", {"F34"},
                    fmt::format("differs from the embedding {} although the config ties them",
                                c.item.base->name));
    d.fix = "set tie_word_embeddings to false at every level of config.json, or drop the tensor";
    return {std::move(d)};
  }
  if (c.item.kind == ItemKind::kUntiedHead && copies_merged_table(c)) {
    Diagnosis d =
        bytes_error("audit.tied-one-side", {"F35"},
                    "is a copy of the merged embedding: the head got the embedding's delta");
    d.expected = "the base's table, without the delta";
    d.actual = "merged's own embedding";
    d.fix = "write the base's table as the head";
    return {std::move(d)};
  }
  for (const BytesTest test : kBytesStories) {
    if (std::optional<Diagnosis> story = test(c)) {
      stories.push_back(std::move(*story));
      break;
    }
  }
  if (stories.empty()) {
    stories.push_back(other_base(c));
  }
  for (Diagnosis& story : stories) {
    if (story.expected.empty()) {
      story.expected = replaced ? "the adapter's bytes" : "the base's bytes";
    }
    if (story.actual.empty()) {
      story.actual =
          fmt::format("{} of {} elements differ", c.measure.differing, c.measure.elements);
    }
    if (story.fix.empty()) {
      story.fix = "merge again on this base; if another one was meant, audit against that";
    }
  }
  return stories;
}

}  // namespace mg
