// Traces of a coarser grid in stored weights: 4-bit and 8-bit quantisation, a constant
// (docs/reference/failures.md section 1, "Grid test").  Tested in tests/audit.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "kernels/core/tensor_view.h"

namespace mg {

enum class Grid { kNone, kFourBit, kEightBit };

/// What grid rows of numbers lie on, each number known to within `noise[i]`: at most 16 levels in
/// (nearly) every 32 neighbours, or multiples of one step per row.  Numbers of an ordinary 16-bit
/// weight lie on neither.
Grid find_grid(std::span<const double> values, std::span<const double> noise, std::int64_t cols);

/// Whether all elements are one finite value.
bool is_constant(const TensorView& view);

}  // namespace mg
