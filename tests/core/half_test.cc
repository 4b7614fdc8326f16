// The scalar conversions of half.h, against the formats' definitions: every pattern widened, and
// narrowing as a search among the values of all patterns.
#include "kernels/core/half.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <random>
#include <vector>

namespace mg {
namespace {

/// A binary format by its field widths; `finite_top` where the all-ones exponent holds numbers
/// (E4M3 FN).
struct Format {
  int mantissa_bits;
  int exponent_bits;
  bool finite_top = false;
};

constexpr Format kHalf{10, 5};
constexpr Format kBFloat{7, 8};
constexpr Format kE4M3{3, 4, true};
constexpr Format kE5M2{2, 5};

// IEEE 754-2008 section 3.4: (-1)^s * 2^(e - bias) * (1 + m / 2^p), subnormals without the 1.
double by_definition(Format format, std::uint32_t bits) {
  const std::uint32_t mantissa = bits & ((1U << format.mantissa_bits) - 1U);
  const std::uint32_t top = (1U << format.exponent_bits) - 1U;
  const std::uint32_t exponent = (bits >> format.mantissa_bits) & top;
  const bool negative = ((bits >> (format.mantissa_bits + format.exponent_bits)) & 1U) != 0;
  const int bias = (1 << (format.exponent_bits - 1)) - 1;
  const double fraction = std::ldexp(mantissa, -format.mantissa_bits);
  double magnitude = exponent == 0 ? std::ldexp(fraction, 1 - bias)
                                   : std::ldexp(1.0 + fraction, static_cast<int>(exponent) - bias);
  if (format.finite_top) {
    if (exponent == top && mantissa == (1U << format.mantissa_bits) - 1U) {
      magnitude = std::numeric_limits<double>::quiet_NaN();
    }
  } else if (exponent == top) {
    magnitude = mantissa == 0 ? std::numeric_limits<double>::infinity()
                              : std::numeric_limits<double>::quiet_NaN();
  }
  return negative ? -magnitude : magnitude;
}

bool same(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) {
    return std::isnan(a) && std::isnan(b);
  }
  return a == b && std::signbit(a) == std::signbit(b);
}

TEST(Half, EveryPatternWidensByDefinition) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    ASSERT_TRUE(same(static_cast<double>(half_to_float(half)), by_definition(kHalf, bits))) << bits;
    ASSERT_TRUE(same(static_cast<double>(bf16_to_float(half)), by_definition(kBFloat, bits)))
        << bits;
  }
}

TEST(Float8, EveryPatternWidensByDefinition) {
  for (std::uint32_t bits = 0; bits < 0x100U; ++bits) {
    const auto byte = static_cast<std::uint8_t>(bits);
    ASSERT_TRUE(same(static_cast<double>(f8e4m3_to_float(byte)), by_definition(kE4M3, bits)))
        << bits;
    ASSERT_TRUE(same(static_cast<double>(f8e5m2_to_float(byte)), by_definition(kE5M2, bits)))
        << bits;
  }
}

TEST(Half, EveryNumberNarrowsToItself) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto pattern = static_cast<std::uint16_t>(bits);
    if (const float value = half_to_float(pattern); !std::isnan(value)) {
      ASSERT_EQ(float_to_half(value), pattern);
      ASSERT_EQ(double_to_half(static_cast<double>(value)), pattern);
    }
    if (const float value = bf16_to_float(pattern); !std::isnan(value)) {
      ASSERT_EQ(float_to_bf16(value), pattern);
      ASSERT_EQ(double_to_bf16(static_cast<double>(value)), pattern);
    }
  }
}

/// Nearest pattern to |value| by search among all finite ones; ties to the even pattern; overflow
/// from halfway between the largest number and what would follow it (IEEE 754 section 4.3.1).
std::uint16_t nearest(Format format, double value) {
  const std::uint32_t sign_bit = 1U << (format.mantissa_bits + format.exponent_bits);
  const std::uint32_t infinity = ((1U << format.exponent_bits) - 1U) << format.mantissa_bits;
  const double magnitude = std::fabs(value);
  std::uint32_t low = 0;  // patterns of positive numbers are ordered as their values
  std::uint32_t high = infinity;
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (by_definition(format, middle) <= magnitude ? low : high) = middle;
  }
  const double below = by_definition(format, low);
  const double above = high == infinity
                           ? below + (below - by_definition(format, low - 1))  // one step further
                           : by_definition(format, high);
  const double from_below = magnitude - below;  // exact: neighbours in a coarser format
  const double from_above = above - magnitude;
  const bool up = from_below > from_above || (from_below == from_above && (low & 1U) != 0);
  return static_cast<std::uint16_t>((up ? high : low) | (std::signbit(value) ? sign_bit : 0U));
}

std::vector<double> probes(Format format) {
  std::vector<double> values;
  const std::uint32_t infinity = ((1U << format.exponent_bits) - 1U) << format.mantissa_bits;
  for (std::uint32_t bits = 0; bits + 1 < infinity; bits += 1 + bits % 7) {
    const double here = by_definition(format, bits);
    const double tie = here + (by_definition(format, bits + 1) - here) / 2;
    values.insert(values.end(), {tie, std::nextafter(tie, 1e300), -std::nextafter(tie, 0.0)});
  }
  const double largest = by_definition(format, infinity - 1);
  const double half_step = (largest - by_definition(format, infinity - 2)) / 2;
  values.insert(values.end(), {largest + half_step, std::nextafter(largest + half_step, 0.0),
                               largest * 4, 5e-324, 1e-60, -0.0});
  std::mt19937_64 random(3);
  for (int i = 0; i < 20000; ++i) {
    const double mantissa = 1.0 + static_cast<double>(random() >> 12U) * 0x1p-52;
    values.push_back(std::ldexp(mantissa, static_cast<int>(random() % 60) - 40));
  }
  return values;
}

TEST(Half, DoublesNarrowToTheNearestPattern) {
  for (const double value : probes(kHalf)) {
    ASSERT_EQ(double_to_half(value), nearest(kHalf, value)) << value;
  }
  for (const double value : probes(kBFloat)) {
    ASSERT_EQ(double_to_bf16(value), nearest(kBFloat, value)) << value;
  }
}

TEST(Half, FloatsNarrowToTheNearestPattern) {
  for (const Format format : {kHalf, kBFloat}) {
    for (const double probe : probes(format)) {
      const auto value = static_cast<float>(probe);
      if (!std::isfinite(value)) {
        continue;
      }
      const std::uint16_t actual =
          format.mantissa_bits == 10 ? float_to_half(value) : float_to_bf16(value);
      ASSERT_EQ(actual, nearest(format, static_cast<double>(value))) << value;
    }
  }
}

TEST(Half, NarrowingADoubleRoundsOnce) {
  // Above the tie of 1 and the next half, by less than a float can show: through float it would
  // fall onto the tie, and down.
  const double value = 1.0 + 0x1p-11 + 0x1p-40;
  EXPECT_EQ(double_to_half(value), 0x3C01);
  EXPECT_EQ(float_to_half(static_cast<float>(value)), 0x3C00);
}

TEST(Half, NanAndInfinityStayWhatTheyAre) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(double_to_half(kInfinity), 0x7C00);
  EXPECT_EQ(double_to_bf16(-kInfinity), 0xFF80);
  EXPECT_EQ(float_to_half(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::infinity()), 0x7F80);
  EXPECT_TRUE(std::isnan(half_to_float(double_to_half(kNan))));
  EXPECT_TRUE(std::isnan(bf16_to_float(double_to_bf16(kNan))));
  // Signalling NaN whose payload lies in bits that narrowing drops: must not become infinity.
  const auto low_payload = std::bit_cast<float>(0x7F800001U);
  EXPECT_TRUE(std::isnan(half_to_float(float_to_half(low_payload))));
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(low_payload))));
}

}  // namespace
}  // namespace mg
