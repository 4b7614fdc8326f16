#include "harness/run/layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace mg {
namespace {

std::string part_name(Part part) {
  switch (part) {
    case Part::kPatchEmbed:
      return "patch embedding";
    case Part::kAttention:
      return "attention";
    case Part::kMlp:
      return "mlp";
    case Part::kMerger:
      return "merger";
  }
  return "";
}

LayerPlace place_of(Stack stack, std::int64_t layer, Part part) {
  return {.stack = stack == Stack::kVision ? "vision" : "language",
          .layer = layer,
          .module = part_name(part)};
}

/// "layer 3", "vision block 3"; nothing of a tower's merger and patch embedding, which are in no
/// block.
std::string layer_text(const LayerPlace& place) {
  if (place.stack != "vision") {
    return fmt::format("layer {}", place.layer);
  }
  const bool block = place.module == "attention" || place.module == "mlp";
  return block ? fmt::format("vision block {}", place.layer) : "the vision tower";
}

/// "layer 3 (mlp)"
std::string part_text(const LayerPlace& place) {
  return fmt::format("{} ({})", layer_text(place), place.module);
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
  for (const HalfDrift& half : drift) {
    const HalfDrift* other = expected.find(half);
    if (other == nullptr) {
      continue;
    }
    const double limit = expected.by_prompt ? other->prompt_rel[prompt] : expected.forced(*other);
    if (departed(half.prompt_rel[prompt], limit)) {
      return place_of(half.stack, half.layer, half.part);
    }
  }
  return std::nullopt;
}

}  // namespace

const HalfDrift* ExpectedDrift::find(const HalfDrift& half) const {
  const auto found = std::find_if(halves.begin(), halves.end(),
                                  [&](const HalfDrift& each) { return each.same_place(half); });
  return found == halves.end() ? nullptr : &*found;
}

ExpectedDrift expected_of_remerge(std::span<const HalfDrift> drift) {
  return {.halves = {drift.begin(), drift.end()}, .by_prompt = true, .basis = "our re-merge's"};
}

ExpectedDrift expected_of_others(std::span<const HalfDrift> drift,
                                 std::span<const HalfDrift> yardstick) {
  const ExpectedDrift own{.halves = {yardstick.begin(), yardstick.end()}, .basis = {}};
  std::map<std::pair<Stack, Part>, std::vector<double>> ratios;
  for (const HalfDrift& half : drift) {
    const HalfDrift* other = own.find(half);
    const double measured = other == nullptr ? 0.0 : ExpectedDrift::forced(*other);
    if (!half.forced_rel || !std::isfinite(*half.forced_rel) || !std::isfinite(measured) ||
        !(measured > 0.0)) {
      return {};
    }
    ratios[{half.stack, half.part}].push_back(*half.forced_rel / measured);
  }
  ExpectedDrift expected{
      .halves = {}, .by_prompt = false, .basis = "what the file's other layers do"};
  for (const HalfDrift& half : drift) {
    std::vector<double>& same = ratios[{half.stack, half.part}];
    const auto middle = same.begin() + static_cast<std::ptrdiff_t>(same.size() / 2);
    std::nth_element(same.begin(), middle, same.end());
    expected.halves.push_back(half);
    expected.halves.back().forced_rel = *middle * ExpectedDrift::forced(*own.find(half));
  }
  return expected;
}

void add_layers(std::span<const HalfDrift> drift, const std::optional<NonFiniteHidden>& non_finite,
                const ExpectedDrift& expected, const Batch& batch, Comparison& comparison) {
  for (const HalfDrift& half : drift) {
    LayerDrift row{.place = place_of(half.stack, half.layer, half.part),
                   .free_rel = number(half.free_rel),
                   .forced_rel = half.forced_rel ? number(*half.forced_rel) : std::nullopt,
                   .non_finite = 0};
    if (non_finite && non_finite->stack == half.stack && non_finite->layer == half.layer &&
        non_finite->part == half.part) {
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

std::optional<Finding> departing_half(std::span<const HalfDrift> drift, Comparison& comparison,
                                      const ExpectedDrift& expected) {
  for (std::size_t i = 0; i < drift.size(); ++i) {
    const LayerDrift& half = comparison.layers[i];
    const HalfDrift* other = expected.find(drift[i]);
    const double limit = other == nullptr ? 0.0 : ExpectedDrift::forced(*other);
    if (other == nullptr || !half.forced_rel || !std::isfinite(limit) ||
        !departed(*half.forced_rel, limit)) {
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
        .subject = fmt::format("{} {}", layer_text(half.place), half.place.module),
        .message = fmt::format("{} departs from {} first in {}, fed the same input; most in {}",
                               comparison.subject, comparison.reference, part_text(half.place),
                               part_text(worst->place)),
        .expected = fmt::format("relative drift of at most {:.2g}, {} times {}", kDeparted * limit,
                                kDeparted, expected.basis),
        .actual = fmt::format("{:.2g}", *half.forced_rel),
        .fix = std::nullopt};
  }
  return std::nullopt;
}

namespace {

LayerPlace place_of(const NonFiniteHidden& place) {
  return place_of(place.stack, place.layer, place.part);
}

/// "layer 3 (mlp) on, first in prompt smoke-00 at position 0"
std::string place_text(const NonFiniteHidden& place, const Batch& batch) {
  const char* unit = place.stack == Stack::kLanguage ? "position"
                     : place.part == Part::kMerger   ? "image token"
                                                     : "patch";
  return fmt::format("{} on, first in prompt {} at {} {}", part_text(place_of(place)),
                     batch.prompts[place.prompt].id, unit, place.row);
}

}  // namespace

Finding non_finite_finding(const std::string& lane, const NonFiniteHidden& place,
                           const Batch& batch) {
  const LayerPlace part = place_of(place);
  return {.rule = "compare.non-finite",
          .catalogue = {"F31"},
          .severity = Severity::kError,
          .command = "compare",
          .subject = fmt::format("{}, {} {}", lane, layer_text(part), part.module),
          .message = fmt::format("hidden states of {} are not finite from {}", lane,
                                 place_text(place, batch)),
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
      .subject = fmt::format("adapter, {} {}", layer_text(place_of(place)), place_of(place).module),
      .message = fmt::format(
          "in {} arithmetic, as servers compute, base + adapter overflows: its hidden states are "
          "not finite from {}",
          arithmetic, place_text(place, batch)),
      .expected = "finite numbers",
      .actual = fmt::format("{} rows with NaN or infinity", place.rows),
      .fix = Fix{.automatic = false,
                 .what = "store the merge as BF16 and serve it so: FP16 ends at 65504"}};
}

}  // namespace mg
