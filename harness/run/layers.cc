#include "harness/run/layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mg {
namespace {

std::string half_name(bool mlp) {
  return mlp ? "mlp" : "attention";
}

LayerPlace place_of(std::int64_t layer, bool mlp) {
  return {.stack = "language", .layer = layer, .module = half_name(mlp)};
}

std::optional<double> number(double value) {
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

bool departed(double drift, double expected) {
  return !(drift <= kDeparted * expected);
}

/// The first half where this prompt's hidden states lie further apart than expected.
std::optional<LayerPlace> first_departure(std::span<const HalfDrift> drift,
                                          const ExpectedDrift& expected, std::size_t prompt) {
  for (std::size_t i = 0; i < drift.size() && i < expected.forced.size(); ++i) {
    const double limit = expected.prompt.empty() ? expected.forced[i] : expected.prompt[i][prompt];
    if (departed(drift[i].prompt_rel[prompt], limit)) {
      return place_of(drift[i].layer, drift[i].mlp);
    }
  }
  return std::nullopt;
}

}  // namespace

ExpectedDrift expected_of_remerge(std::span<const HalfDrift> drift) {
  ExpectedDrift expected;
  expected.basis = "our re-merge's";
  for (const HalfDrift& half : drift) {
    expected.forced.push_back(half.forced_rel.value_or(half.free_rel));
    expected.prompt.push_back(half.prompt_rel);
  }
  return expected;
}

void add_layers(std::span<const HalfDrift> drift, const std::optional<NonFiniteHidden>& non_finite,
                const ExpectedDrift& expected, const Batch& batch, Comparison& comparison) {
  for (const HalfDrift& half : drift) {
    LayerDrift row{.place = place_of(half.layer, half.mlp),
                   .free_rel = number(half.free_rel),
                   .forced_rel = half.forced_rel ? number(*half.forced_rel) : std::nullopt,
                   .non_finite = 0};
    if (non_finite && non_finite->layer == half.layer && non_finite->mlp == half.mlp) {
      row.non_finite = non_finite->rows;
    }
    comparison.layers.push_back(std::move(row));
  }
  for (Evidence& card : comparison.evidence) {
    const auto prompt =
        std::find_if(batch.prompts.begin(), batch.prompts.end(),
                     [&](const BatchPrompt& candidate) { return candidate.id == card.prompt; });
    if (prompt != batch.prompts.end()) {
      card.first_layer = first_departure(drift, expected,
                                         static_cast<std::size_t>(prompt - batch.prompts.begin()));
    }
  }
}

std::optional<Finding> departing_half(Comparison& comparison, const ExpectedDrift& expected) {
  for (std::size_t i = 0; i < comparison.layers.size() && i < expected.forced.size(); ++i) {
    const LayerDrift& half = comparison.layers[i];
    if (!half.forced_rel || !std::isfinite(expected.forced[i]) ||
        !departed(*half.forced_rel, expected.forced[i])) {
      continue;
    }
    comparison.culprit = half.place;
    const auto worst =
        std::max_element(comparison.layers.begin(), comparison.layers.end(),
                         [](const LayerDrift& left, const LayerDrift& right) {
                           return left.forced_rel.value_or(0.0) < right.forced_rel.value_or(0.0);
                         });
    return Finding{
        .rule = "compare.layer-departs",
        .catalogue = {},
        .severity = Severity::kWarning,
        .command = "compare",
        .subject = fmt::format("layer {} {}", half.place.layer, half.place.module),
        .message = fmt::format(
            "{} departs from {} first in layer {} ({}), fed the same input; most in layer {} ({})",
            comparison.subject, comparison.reference, half.place.layer, half.place.module,
            worst->place.layer, worst->place.module),
        .expected = fmt::format("relative drift of at most {:.2g}, {} times {}",
                                kDeparted * expected.forced[i], kDeparted, expected.basis),
        .actual = fmt::format("{:.2g}", *half.forced_rel),
        .fix = std::nullopt};
  }
  return std::nullopt;
}

namespace {

/// "layer 3 (mlp) on, first in prompt smoke-00 at position 0"
std::string place_of(const NonFiniteHidden& place, const Batch& batch) {
  const auto prompt = std::find_if(
      batch.prompts.begin(), batch.prompts.end(),
      [&](const BatchPrompt& candidate) { return place.row < candidate.begin + candidate.length; });
  return fmt::format("layer {} ({}) on, first in prompt {} at position {}", place.layer,
                     half_name(place.mlp), prompt->id, place.row - prompt->begin);
}

}  // namespace

Finding non_finite_finding(const std::string& lane, const NonFiniteHidden& place,
                           const Batch& batch) {
  return {.rule = "compare.non-finite",
          .catalogue = {"F31"},
          .severity = Severity::kError,
          .command = "compare",
          .subject = fmt::format("{}, layer {} {}", lane, place.layer, half_name(place.mlp)),
          .message = fmt::format("hidden states of {} are not finite from {}", lane,
                                 place_of(place, batch)),
          .expected = "finite numbers",
          .actual = fmt::format("{} rows with NaN or infinity", place.rows),
          .fix = std::nullopt};
}

Finding serving_overflow_finding(const std::string& arithmetic, bool stored_so,
                                 const NonFiniteHidden& place, const Batch& batch) {
  return {
      .rule = "compare.serving-overflow",
      .catalogue = {"F31"},
      .severity = stored_so ? Severity::kError : Severity::kWarning,
      .command = "compare",
      .subject = fmt::format("adapter, layer {} {}", place.layer, half_name(place.mlp)),
      .message = fmt::format(
          "in {} arithmetic, as servers compute, base + adapter overflows: its hidden states are "
          "not finite from {}",
          arithmetic, place_of(place, batch)),
      .expected = "finite numbers",
      .actual = fmt::format("{} rows with NaN or infinity", place.rows),
      .fix = Fix{.automatic = false,
                 .what = "store the merge as BF16 and serve it so: FP16 ends at 65504"}};
}

}  // namespace mg
