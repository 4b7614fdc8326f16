#include "harness/audit/quantised_story.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "kernels/core/convert.h"
#include "kernels/core/rounding.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

constexpr std::int64_t kHeldSample = 1 << 16;
// Of the numbers that codes were made of, those whose code is still the nearest: all, but for
// cells' edges and a wide delta's rounding.
constexpr double kHeldShare = 0.95;
// docs/reference/failures.md, F29: with less of the delta than this the merge was quantised on the
// grid it came from.
constexpr double kSurvives = 0.9;

struct Held {
  std::int64_t held = 0;
  std::int64_t elements = 0;

  double share() const {
    return elements == 0 ? 0.0 : static_cast<double>(held) / static_cast<double>(elements);
  }
};

/// merged - delta on rows [begin, end), added to `sum` as the base's codes would hold it.
bool add_held(const AuditItem& item, const DeltaRows* delta, std::int64_t begin, std::int64_t end,
              Held& sum) {
  const TensorView& merged = item.merged->view;
  const std::int64_t cols = merged.dim(1);
  const std::int64_t n = (end - begin) * cols;
  const auto width = to_index(dtype_bits(merged.dtype) / 8);
  std::vector<double> values(to_index(n));
  widen_to_double(merged.dtype, merged.data + to_index(begin * cols) * width, n, values.data());
  const GridFormat store = grid_format(merged.dtype);
  std::vector<double> noise(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    noise[i] = 0.51 * ulp_of(values[i], store);
  }
  if (delta != nullptr) {
    std::vector<double> d(values.size());
    delta->compute(begin, end, d.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] -= d[i];
    }
  }
  const std::optional<std::int64_t> held =
      item.base->quantised->count_held(begin, end, values.data(), noise.data());
  sum.held += held.value_or(0);
  sum.elements += n;
  return held.has_value();
}

bool is_candidate(const AuditItem& item) {
  return item.base != nullptr && item.base->quantised != nullptr &&
         item.merged->quantised == nullptr && is_plain(item.merged->view.dtype) &&
         item.merged->view.shape.size() == 2;
}

Diagnosis original_base(const AuditItem& item, double share, const std::string& what) {
  const std::string& format = item.base->quantised->format;
  Diagnosis d;
  d.rule = "audit.quantised-base";
  d.catalogue = {"F28"};
  d.severity = Severity::kWarning;
  d.key = kOriginalBase;
  d.message = fmt::format(
      "{} 16-bit weights that the base's {} codes were made from ({:.3g} % of the numbers under "
      "the "
      "delta would be stored as these codes), not the dequantised ones",
      what, format, 100.0 * share);
  d.expected = fmt::format("the dequantised {} base + delta", format);
  d.fix =
      "to prove it, give the 16-bit base as --base and this one as --trained-on; which of the two "
      "merges is the better one is for `mergegauge check` to say";
  return d;
}

}  // namespace

std::optional<Diagnosis> requantised_story(const TargetCase& c) {
  if (c.item.kind != ItemKind::kTarget || c.item.merged->quantised == nullptr) {
    return std::nullopt;
  }
  const std::string& format = c.item.merged->quantised->format;
  const double slope = c.measure.c().value_or(0.0);
  const bool absorbed = !(slope >= kSurvives);
  const double changed = static_cast<double>(c.measure.changed) /
                         static_cast<double>(std::max<std::int64_t>(1, c.measure.elements));
  Diagnosis d;
  d.rule = "audit.requantised";
  d.catalogue = {"F29"};
  d.key = absorbed ? "absorbed" : "buried";
  d.message =
      absorbed
          ? fmt::format(
                "is stored as {} codes again: merged into weights on that grid, {:.0f} % of the "
                "delta is left (F29a; {:.0f} % of the elements changed)",
                format, 100.0 * slope, 100.0 * changed)
          : fmt::format(
                "is stored as {} codes: quantised after the merge, the delta is there on average "
                "({:.0f} %) under new rounding of {:.2g} times its size (F29b)",
                format, 100.0 * slope, c.measure.rho().value_or(0.0));
  d.expected = "base + delta in 16 bits or more";
  d.actual = fmt::format("c {:.4g}, rho {:.4g}", slope, c.measure.rho().value_or(0.0));
  d.fix = "merge in 16 bits or more and keep that; quantise with calibration afterwards";
  return d;
}

std::optional<Diagnosis> original_base_story(const TargetCase& c) {
  if (c.item.kind != ItemKind::kTarget || !is_candidate(c.item)) {
    return std::nullopt;
  }
  Held held;
  for (const auto& [begin, end] : sample_rows(*c.views.delta, kHeldSample)) {
    if (!add_held(c.item, c.views.delta, begin, end, held)) {
      return std::nullopt;
    }
  }
  if (!(held.share() >= kHeldShare)) {
    return std::nullopt;
  }
  Diagnosis d = original_base(c.item, held.share(), "is the delta on the");
  const double rest = c.measure.rho().value_or(0.0);
  d.message += fmt::format("; the quantisation error between the two is {:.3g} of the delta", rest);
  d.actual = fmt::format("c {:.4g}, |e|/|D| {:.4g}", c.measure.c().value_or(0.0), rest);
  return d;
}

std::optional<Diagnosis> original_base_bytes(const BytesCase& c) {
  if (c.item.kind != ItemKind::kUntouched || !is_candidate(c.item)) {
    return std::nullopt;
  }
  const TensorView& merged = c.item.merged->view;
  const std::int64_t rows =
      std::min(merged.dim(0),
               std::max<std::int64_t>(1, kHeldSample / std::max<std::int64_t>(1, merged.dim(1))));
  Held held;
  if (!add_held(c.item, nullptr, 0, rows, held) || !(held.share() >= kHeldShare)) {
    return std::nullopt;
  }
  return original_base(c.item, held.share(), "holds the");
}

}  // namespace mg
