// round_to_grid, rounding_cell and the vectorised narrowing against the scalar conversions of
// half.h, which are themselves written differently (ilogb and ldexp).
#include "kernels/core/rounding.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "kernels/core/convert.h"
#include "kernels/core/half.h"

namespace mg {
namespace {

constexpr DType kHalves[] = {DType::kF16, DType::kBF16};

double widen(DType dtype, std::uint16_t bits) {
  return static_cast<double>(dtype == DType::kF16 ? half_to_float(bits) : bf16_to_float(bits));
}

std::uint16_t narrow(DType dtype, double value) {
  return dtype == DType::kF16 ? double_to_half(value) : double_to_bf16(value);
}

// Every finite value of the format, its ties with both neighbours, and the doubles next to those.
std::vector<double> probes(DType dtype) {
  std::vector<double> values;
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const double value = widen(dtype, static_cast<std::uint16_t>(bits));
    if (!std::isfinite(value)) {
      continue;
    }
    const RoundingCell cell = rounding_cell(value, grid_format(dtype));
    for (const double edge : {value, cell.low, cell.high}) {
      values.push_back(edge);
      values.push_back(std::nextafter(edge, 1e300));
      values.push_back(std::nextafter(edge, -1e300));
    }
  }
  std::mt19937_64 random(7);
  for (int i = 0; i < 100000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (value == value) {
      values.push_back(value);
    }
  }
  values.insert(values.end(), {0.0, -0.0, 1e308, -1e308, HUGE_VAL, -HUGE_VAL, 5e-324});
  return values;
}

TEST(RoundToGrid, EqualsTheScalarNarrowingAroundEveryValueAndTie) {
  for (const DType dtype : kHalves) {
    const GridFormat format = grid_format(dtype);
    for (const double value : probes(dtype)) {
      const double expected = widen(dtype, narrow(dtype, value));
      const double actual = round_to_grid(value, format);
      ASSERT_EQ(std::bit_cast<std::uint64_t>(expected), std::bit_cast<std::uint64_t>(actual))
          << dtype_name(dtype) << " " << value;
    }
  }
}

TEST(RoundToGrid, EqualsTheHardwareForFloat) {
  const GridFormat format = grid_format(DType::kF32);
  std::mt19937_64 random(11);
  for (int i = 0; i < 1000000; ++i) {
    // Exponents around those of floats, so that subnormals and overflow are met.
    const double mantissa = 1.0 + static_cast<double>(random() >> 12U) * 0x1p-52;
    const int exponent = static_cast<int>(random() % 300U) - 160;
    const double value = std::ldexp(random() % 2U == 0 ? mantissa : -mantissa, exponent);
    ASSERT_EQ(static_cast<double>(static_cast<float>(value)), round_to_grid(value, format))
        << value;
  }
}

TEST(RoundToGrid, KeepsNanAndTheSignOfZero) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    const GridFormat format = grid_format(dtype);
    EXPECT_TRUE(std::isnan(round_to_grid(std::bit_cast<double>(0x7FFFFFFFFFFFFFFFULL), format)));
    EXPECT_TRUE(std::isnan(round_to_grid(std::bit_cast<double>(0xFFF0000000000001ULL), format)));
    EXPECT_TRUE(std::signbit(round_to_grid(-0.0, format)));
    EXPECT_TRUE(std::signbit(round_to_grid(-1e-300, format)));
  }
}

TEST(RoundingCell, HoldsExactlyWhatRoundsToTheValue) {
  for (const DType dtype : kHalves) {
    const GridFormat format = grid_format(dtype);
    for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
      const double value = widen(dtype, static_cast<std::uint16_t>(bits));
      if (!std::isfinite(value)) {
        continue;
      }
      const RoundingCell cell = rounding_cell(value, format);
      ASSERT_EQ(round_to_grid(std::nextafter(cell.low, value), format), value);
      ASSERT_EQ(round_to_grid(std::nextafter(cell.high, value), format), value);
      ASSERT_NE(round_to_grid(std::nextafter(cell.low, -HUGE_VAL), format), value);
      ASSERT_NE(round_to_grid(std::nextafter(cell.high, HUGE_VAL), format), value);
    }
  }
}

TEST(UlpOf, IsTheDistanceToTheNextValueUp) {
  for (const DType dtype : kHalves) {
    const GridFormat format = grid_format(dtype);
    const std::uint16_t last = dtype == DType::kF16 ? 0x7BFE : 0x7F7E;
    for (std::uint16_t bits = 0; bits <= last; ++bits) {
      const double value = widen(dtype, bits);
      const double next = widen(dtype, static_cast<std::uint16_t>(bits + 1));
      ASSERT_EQ(ulp_of(value, format), next - value) << value;
      ASSERT_EQ(ulp_of(-value, format), next - value) << value;
    }
  }
}

TEST(NextOnGrid, WalksThroughEveryValueUpAndDown) {
  for (const DType dtype : kHalves) {
    const GridFormat format = grid_format(dtype);
    const std::uint16_t largest = dtype == DType::kF16 ? 0x7BFF : 0x7F7F;
    double value = widen(dtype, static_cast<std::uint16_t>(largest | 0x8000U));
    for (int bits = largest - 1; bits >= -largest; --bits) {
      const double expected = bits >= 0 ? widen(dtype, static_cast<std::uint16_t>(bits | 0x8000))
                                        : widen(dtype, static_cast<std::uint16_t>(-bits));
      const double next = next_on_grid(value, format, true);
      ASSERT_EQ(next, expected);
      ASSERT_EQ(next_on_grid(next, format, false), value);
      value = next;
    }
  }
}

TEST(RoundInPlace, EqualsTheScalarRounding) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    std::vector<double> values = probes(DType::kF16);
    values.push_back(std::bit_cast<double>(0x7FF8000000000001ULL));
    const std::vector<double> before = values;
    round_in_place(dtype, values.data(), static_cast<std::int64_t>(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(std::bit_cast<std::uint64_t>(values[i]),
                std::bit_cast<std::uint64_t>(round_to(dtype, before[i])))
          << before[i];
    }
  }
}

TEST(NarrowFromDouble, BulkEqualsScalarForAnyLengthAndPlaceOfNan) {
  for (const DType dtype : kHalves) {
    std::vector<double> values = probes(dtype);
    values[70] = std::bit_cast<double>(0xFFF8000000000123ULL);
    values[values.size() - 100] = std::bit_cast<double>(0x7FF0000000000001ULL);
    // 3 odd elements shift the blocks against the first run.
    for (const std::size_t skip : {std::size_t{0}, std::size_t{3}}) {
      const std::size_t n = values.size() - skip;
      std::vector<std::byte> out(2 * n + 1);
      narrow_from_double(dtype, values.data() + skip, static_cast<std::int64_t>(n), out.data() + 1);
      for (std::size_t i = 0; i < n; ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, out.data() + 1 + 2 * i, 2);
        ASSERT_EQ(bits, narrow(dtype, values[skip + i])) << dtype_name(dtype) << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace mg
