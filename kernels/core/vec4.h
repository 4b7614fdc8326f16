// Four doubles as one value, by the vector extension g++ and clang share: one AVX2 register inside
// functions with that target, two SSE2 registers elsewhere, and the same IEEE operations on each
// lane in both.  Everything here is inlined and passes by reference, so no calling convention
// depends on the instruction set. Not for: FMA (results would depend on the CPU).  Tested through
// convert.cc, low_rank.cc and measure.cc.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/core/rounding.h"

namespace mg {

typedef double Vec4 __attribute__((vector_size(32)));
typedef std::int64_t Mask4 __attribute__((vector_size(32)));  // lanes all ones or zero
typedef std::uint64_t Bits4 __attribute__((vector_size(32)));

[[gnu::always_inline]] inline void load4(const double* from, Vec4& to) {
  std::memcpy(&to, from, sizeof(Vec4));
}

[[gnu::always_inline]] inline void store4(const Vec4& from, double* to) {
  std::memcpy(to, &from, sizeof(Vec4));
}

[[gnu::always_inline]] inline void bits_of(const Vec4& from, Bits4& to) {
  std::memcpy(&to, &from, sizeof(Vec4));
}

[[gnu::always_inline]] inline void from_bits(const Bits4& from, Vec4& to) {
  std::memcpy(&to, &from, sizeof(Vec4));
}

constexpr std::uint64_t kSignBit = std::uint64_t{1} << 63U;

[[gnu::always_inline]] inline void absolute(const Vec4& x, Vec4& out) {
  Bits4 bits;
  bits_of(x, bits);
  bits &= ~kSignBit;
  from_bits(bits, out);
}

/// True where any lane of a comparison holds.
[[gnu::always_inline]] inline bool any(const Mask4& mask) {
  return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
}

/// round_to_grid of rounding.h on four lanes, bit for bit.
[[gnu::always_inline]] inline void round_to_grid(const Vec4& x, const GridFormat& format,
                                                 Vec4& out) {
  const std::uint64_t unit = std::uint64_t{1} << format.shift;
  Bits4 bits;
  bits_of(x, bits);
  const Bits4 sign = bits & kSignBit;
  const Bits4 odd = (bits >> static_cast<std::uint64_t>(format.shift)) & 1U;
  Vec4 normal;
  from_bits((bits + ((unit >> 1U) - 1U) + odd) & ~(unit - 1U), normal);
  const double magic = format.subnormal_step * 0x1.8p52;
  const Vec4 small = (x + magic) - magic;
  Bits4 small_bits;
  bits_of(small, small_bits);
  Vec4 subnormal;
  from_bits((small_bits & ~kSignBit) | sign, subnormal);
  Vec4 magnitude;
  absolute(x, magnitude);
  const Vec4 rounded = magnitude < format.min_normal ? subnormal : normal;
  Vec4 rounded_magnitude;
  absolute(rounded, rounded_magnitude);
  Vec4 infinity;
  from_bits(sign | std::bit_cast<std::uint64_t>(std::numeric_limits<double>::infinity()), infinity);
  const Vec4 limited = rounded_magnitude >= format.overflow ? infinity : rounded;
  out = x == x ? limited : x;
}

}  // namespace mg
