// From the drift of hidden states to the report: layer by layer, and the half of a layer that
// causes a difference.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/lanes/lockstep.h"
#include "harness/result/comparison.h"
#include "harness/result/finding.h"

namespace mg {

/// A half whose forced drift is above this many times the arithmetic's own drift in that half has
/// departed. Storage rounding stays below the arithmetic's noise; every planted fault of tests/run
/// is far above it.
inline constexpr double kDeparted = 4.0;

/// Fills `comparison.layers`, and the first departed layer of each evidence card.  `noise`: the
/// arithmetic's own drift per half, or empty.
void add_layers(std::span<const HalfDrift> drift, const std::optional<NonFiniteHidden>& non_finite,
                std::span<const double> noise, const Batch& batch, Comparison& comparison);

/// The first half of a layer that departed, as a warning naming it, or nothing.
std::optional<Finding> departing_half(const Comparison& comparison, std::span<const double> noise);

/// A NaN or infinity in a lane's hidden states: an error naming lane, layer, half, prompt and
/// position.
Finding non_finite_finding(const std::string& lane, const NonFiniteHidden& place,
                           const Batch& batch);

}  // namespace mg
