// Rounding of doubles to the grid of a stored format while staying in double: what a merge's store
// does, written so that a loop over it vectorises (no branches, no tables).  All results are exact:
// every F16, BF16 and F32 value is a double.  Not for: packing into bytes (convert.h).  Tested in
// tests/core/rounding_test.cc.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/core/dtype.h"
#include "kernels/core/error.h"

namespace mg {

/// A binary format by what rounding to it needs.
struct GridFormat {
  int shift = 0;              // explicit significand bits a double has more than the format
  double min_normal = 0;      // smallest normal magnitude
  double subnormal_step = 0;  // spacing below min_normal
  double overflow = 0;        // magnitudes that round to at least this become infinite
};

/// F16, BF16, F32 or F64; others are an internal Error.
constexpr GridFormat grid_format(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return {42, 0x1p-14, 0x1p-24, 0x1p16};
    case DType::kBF16:
      return {45, 0x1p-126, 0x1p-133, 0x1p128};
    case DType::kF32:
      return {29, 0x1p-126, 0x1p-149, 0x1p128};
    case DType::kF64:
      return {0, 0x1p-1022, 0x1p-1074, std::numeric_limits<double>::infinity()};
    default:
      MG_CHECK(false, "only F16, BF16, F32 and F64 have a grid to round to");
  }
}

/// `x` rounded to nearest even on the format's grid; overflow gives infinity, NaN stays NaN.
/// Not for F64 (its values are their own rounding).
[[gnu::always_inline]] inline double round_to_grid(double x, const GridFormat& format) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const std::uint64_t unit = std::uint64_t{1} << format.shift;
  const std::uint64_t odd = (bits >> format.shift) & 1U;
  const double normal = std::bit_cast<double>((bits + (unit >> 1U) - 1U + odd) & ~(unit - 1U));
  // Below min_normal the spacing is constant: adding and taking away 1.5 * 2^52 steps rounds to it.
  const double magic = format.subnormal_step * 0x1.8p52;
  const double subnormal = std::copysign((x + magic) - magic, x);
  double rounded = std::fabs(x) < format.min_normal ? subnormal : normal;
  const double infinity = std::copysign(std::numeric_limits<double>::infinity(), x);
  rounded = std::fabs(rounded) >= format.overflow ? infinity : rounded;
  return x == x ? rounded : x;
}

/// The same for a dtype known at run time, F64 included.
inline double round_to(DType dtype, double x) {
  return dtype == DType::kF64 ? x : round_to_grid(x, grid_format(dtype));
}

/// Distance between neighbouring values of the format around `x` (the larger one at a power of
/// two).
inline double ulp_of(double x, const GridFormat& format) {
  const double magnitude = std::fabs(x);
  if (!(magnitude >= format.min_normal)) {
    return format.subnormal_step;
  }
  const int exponent = std::ilogb(magnitude);
  return std::ldexp(1.0, exponent - (52 - format.shift));
}

/// The next value of the format above (`up`) or below `value`, which lies on the grid and is
/// finite; past the largest one this gives the overflow threshold, not infinity.
inline double next_on_grid(double value, const GridFormat& format, bool up) {
  const double magnitude = std::fabs(value);
  const bool outwards = value == 0.0 || (std::signbit(value) != up);
  const std::uint64_t unit = std::uint64_t{1} << format.shift;
  const auto bits = std::bit_cast<std::uint64_t>(magnitude);
  const bool even_steps = outwards ? magnitude < format.min_normal : magnitude <= format.min_normal;
  double moved = std::bit_cast<double>(outwards ? bits + unit : bits - unit);
  if (even_steps) {
    moved = outwards ? magnitude + format.subnormal_step : magnitude - format.subnormal_step;
  }
  const bool negative = value == 0.0 ? !up : std::signbit(value);
  return negative ? -moved : moved;
}

/// The real numbers that round to one value of a format: [low, high], both ends included (a tie may
/// go either way).
struct RoundingCell {
  double low = 0;
  double high = 0;
};

/// Cell of `value`, which must lie on the grid and be finite.
[[gnu::always_inline]] inline RoundingCell rounding_cell(double value, const GridFormat& format) {
  const double magnitude = std::fabs(value);
  const auto bits = std::bit_cast<std::uint64_t>(magnitude);
  const std::uint64_t half = (std::uint64_t{1} << format.shift) >> 1U;
  const bool subnormal =
      magnitude <= format.min_normal;  // min_normal's lower neighbour is one step away
  // At a power of two the spacing below is half of that above; subtracting in the bit pattern knows
  // that.
  const double outer =
      subnormal ? magnitude + format.subnormal_step * 0.5 : std::bit_cast<double>(bits + half);
  const double inner =
      subnormal ? magnitude - format.subnormal_step * 0.5 : std::bit_cast<double>(bits - half);
  const bool negative = std::signbit(value);
  return {negative ? -outer : inner, negative ? -inner : outer};
}

}  // namespace mg
