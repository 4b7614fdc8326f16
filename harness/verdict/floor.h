// The noise floor: how far one lane is from itself under arithmetic that should not matter.  Every
// gate refers to it.
#pragma once

#include <optional>
#include <string>

#include "harness/result/comparison.h"
#include "harness/result/verdict.h"

namespace mg {

/// No near-tie margin above this, whatever the noise: a large one would hide real flips (logits).
inline constexpr double kLargestFlipMargin = 0.5;

/// From a comparison of a lane in exact arithmetic with the same lane in serving arithmetic.  The
/// near-tie margin is twice the p95 of a row's largest centred logit difference: two tokens can
/// move towards each other.
Floor make_floor(const Comparison& same_lane, std::string basis);

/// Near-tie margin of a run; kLargestFlipMargin where no floor was measured.
double flip_margin(const std::optional<Floor>& floor);

}  // namespace mg
