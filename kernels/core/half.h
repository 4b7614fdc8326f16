// FP16, BF16 and FP8 scalars by their bit patterns: exact widening, round-to-nearest-even
// narrowing. Narrowing from double rounds once; going through float first would round twice. Bulk
// conversion is in convert.h.  Tested over all 65,536 patterns in tests/core/half_test.cc.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace mg {

/// BF16 bits to float, exact.
inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// FP16 (IEEE binary16) bits to float, exact; NaN payloads keep their top bits.
inline float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0x1FU) {
    // A signalling NaN becomes quiet, as the hardware conversion makes it.
    const std::uint32_t quiet = mantissa == 0 ? 0U : 0x400000U;
    return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13) | quiet);
  }
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;  // subnormal: exact product
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

/// Rounds `value` to a binary format with `mantissa_bits` explicit bits and the given exponent
/// range by nearest-even, and returns the bits.  Shared by the narrowing functions below.
template <int kMantissaBits, int kExponentBits>
inline std::uint16_t narrow_from_double(double value) {
  constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  constexpr int kMinExponent = 1 - kBias;
  constexpr std::uint16_t kInf =
      static_cast<std::uint16_t>(((1U << kExponentBits) - 1U) << kMantissaBits);
  const std::uint16_t sign = std::signbit(value)
                                 ? static_cast<std::uint16_t>(1U << (kMantissaBits + kExponentBits))
                                 : std::uint16_t{0};
  if (std::isnan(value)) {
    return static_cast<std::uint16_t>(sign | kInf | (1U << (kMantissaBits - 1)));
  }
  const double magnitude = std::fabs(value);
  if (std::isinf(value)) {
    return static_cast<std::uint16_t>(sign | kInf);
  }
  if (magnitude == 0.0) {
    return sign;
  }
  int exponent = std::ilogb(magnitude);
  if (exponent < kMinExponent) {
    exponent = kMinExponent;
  }
  // One unit of the last place as an exact power of two; the scaled value rounds to an integer.
  const double scaled = std::ldexp(magnitude, kMantissaBits - exponent);
  auto units = static_cast<std::uint32_t>(scaled);
  const double rest = scaled - static_cast<double>(units);
  if (rest > 0.5 || (rest == 0.5 && (units & 1U) != 0)) {
    ++units;
  }
  // Units carry the implicit bit: adding exponent fields and units lets a carry move up by itself.
  const std::uint32_t field = static_cast<std::uint32_t>(exponent - kMinExponent);
  const std::uint32_t bits = (field << kMantissaBits) + units;
  if (bits >= kInf) {
    return static_cast<std::uint16_t>(sign | kInf);
  }
  return static_cast<std::uint16_t>(sign | bits);
}

/// Double to FP16 bits, one rounding to nearest even; overflow gives infinity.
inline std::uint16_t double_to_half(double value) {
  return narrow_from_double<10, 5>(value);
}

/// Double to BF16 bits, one rounding to nearest even.
inline std::uint16_t double_to_bf16(double value) {
  return narrow_from_double<7, 8>(value);
}

/// Float to BF16 bits, nearest even.
inline std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
    return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  }
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

/// Float to FP16 bits, nearest even; overflow gives infinity.
inline std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) {
    return static_cast<std::uint16_t>(sign | 0x7E00U | ((magnitude >> 13) & 0x3FFU));
  }
  if (magnitude >= 0x477FF000U) {  // 65520 and above round to infinity
    return static_cast<std::uint16_t>(sign | 0x7C00U);
  }
  if (magnitude <
      0x38800000U) {  // below 2^-14: the sum's last bit is worth 2^-24 and rounds for us
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000U));
  }
  const std::uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

/// FP8 E4M3 (the "FN" kind of safetensors: no infinity, 0x7F and 0xFF are NaN) to float, exact.
inline float f8e4m3_to_float(std::uint8_t bits) {
  const int exponent = (bits >> 3) & 0xF;
  const int mantissa = bits & 0x7;
  float magnitude = 0.0F;
  if (exponent == 0xF && mantissa == 0x7) {
    magnitude = std::bit_cast<float>(0x7FC00000U);
  } else if (exponent == 0) {
    magnitude = static_cast<float>(mantissa) * 0x1p-9F;
  } else {
    magnitude = std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  }
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

/// FP8 E5M2 to float, exact: the top byte of an FP16.
inline float f8e5m2_to_float(std::uint8_t bits) {
  return half_to_float(static_cast<std::uint16_t>(bits << 8));
}

}  // namespace mg
