// Bulk conversion gives the bits of the scalar functions at every length and alignment.
#include "kernels/core/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <functional>
#include <numeric>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/half.h"

namespace mg {
namespace {

/// All 65,536 patterns of a two-byte type, beginning at an odd address.
class AllPatterns {
 public:
  AllPatterns() : bytes_(kCount * 2 + 1) {
    for (std::uint32_t i = 0; i < kCount; ++i) {
      const auto pattern = static_cast<std::uint16_t>(i);
      std::memcpy(bytes_.data() + 1 + 2 * i, &pattern, 2);
    }
  }
  const std::byte* data() const { return bytes_.data() + 1; }
  static constexpr std::uint32_t kCount = 0x10000;

 private:
  std::vector<std::byte> bytes_;
};

TEST(Widen, EveryHalfAndBFloatEqualsTheScalarBits) {
  const AllPatterns patterns;
  std::vector<float> floats(AllPatterns::kCount);
  std::vector<double> doubles(AllPatterns::kCount);
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    widen_to_float(dtype, patterns.data(), AllPatterns::kCount, floats.data());
    widen_to_double(dtype, patterns.data(), AllPatterns::kCount, doubles.data());
    for (std::uint32_t i = 0; i < AllPatterns::kCount; ++i) {
      const auto pattern = static_cast<std::uint16_t>(i);
      const float scalar = dtype == DType::kF16 ? half_to_float(pattern) : bf16_to_float(pattern);
      ASSERT_EQ(std::bit_cast<std::uint32_t>(floats[i]), std::bit_cast<std::uint32_t>(scalar)) << i;
      ASSERT_EQ(std::bit_cast<std::uint64_t>(doubles[i]),
                std::bit_cast<std::uint64_t>(static_cast<double>(scalar)))
          << i;
    }
  }
}

TEST(Widen, WritesExactlyTheElementsAskedFor) {
  const AllPatterns patterns;
  constexpr float kCanary = 123.25F;
  for (std::int64_t n = 0; n <= 40; ++n) {
    std::vector<float> out(48, kCanary);
    widen_to_float(DType::kBF16, patterns.data() + 2 * 0x3F80, n, out.data() + 1);
    EXPECT_EQ(out[0], kCanary);
    for (std::int64_t i = 0; i < n; ++i) {
      EXPECT_EQ(out[static_cast<std::size_t>(i) + 1],
                bf16_to_float(static_cast<std::uint16_t>(0x3F80 + i)));
    }
    EXPECT_EQ(out[static_cast<std::size_t>(n) + 1], kCanary) << n;
  }
}

template <typename T>
double widened(DType dtype, T value) {
  std::array<std::byte, sizeof(T)> bytes{};
  std::memcpy(bytes.data(), &value, sizeof(T));
  double out = 0;
  widen_to_double(dtype, bytes.data(), 1, &out);
  float narrow = 0;
  widen_to_float(dtype, bytes.data(), 1, &narrow);
  EXPECT_EQ(narrow, static_cast<float>(out)) << dtype_name(dtype);
  return out;
}

TEST(Widen, IntegersConvertByValue) {
  EXPECT_EQ(widened(DType::kBool, std::uint8_t{1}), 1.0);
  EXPECT_EQ(widened(DType::kU8, std::uint8_t{200}), 200.0);
  EXPECT_EQ(widened(DType::kI8, std::int8_t{-100}), -100.0);
  EXPECT_EQ(widened(DType::kU16, std::uint16_t{60000}), 60000.0);
  EXPECT_EQ(widened(DType::kI16, std::int16_t{-30000}), -30000.0);
  EXPECT_EQ(widened(DType::kU32, std::uint32_t{4000000000}), 4000000000.0);
  EXPECT_EQ(widened(DType::kI32, std::int32_t{-2000000000}), -2000000000.0);
  EXPECT_EQ(widened(DType::kU64, std::uint64_t{1} << 60), 0x1p60);
  EXPECT_EQ(widened(DType::kI64, -(std::int64_t{1} << 60)), -0x1p60);
}

TEST(Widen, OtherFloatsConvertByValue) {
  EXPECT_EQ(widened(DType::kF8E4M3, std::uint8_t{0x7E}), 448.0);
  EXPECT_EQ(widened(DType::kF8E5M2, std::uint8_t{0x7B}), 57344.0);
  EXPECT_EQ(widened(DType::kF32, 0.1F), static_cast<double>(0.1F));
  EXPECT_EQ(widened(DType::kF64, 0.1), 0.1);
}

TEST(NarrowFromFloat, EqualsTheScalarFunctions) {
  const std::vector<float> values{0.0F, -0.0F, 1.0F, 1.0F + 0x1p-11F, 65519.0F, 65520.0F, 1e-8F};
  std::vector<std::uint16_t> halves(values.size());
  std::vector<std::uint16_t> bfloats(values.size());
  const auto n = static_cast<std::int64_t>(values.size());
  narrow_from_float(DType::kF16, values.data(), n, reinterpret_cast<std::byte*>(halves.data()));
  narrow_from_float(DType::kBF16, values.data(), n, reinterpret_cast<std::byte*>(bfloats.data()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(halves[i], float_to_half(values[i]));
    EXPECT_EQ(bfloats[i], float_to_bf16(values[i]));
  }
}

TEST(RoundInPlace, EqualsNarrowingAndWideningForEveryLength) {
  std::vector<float> source(41);
  std::iota(source.begin(), source.end(), 1000.3F);
  source[3] = 70000.0F;  // over the range of FP16
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    for (std::size_t n = 0; n < source.size(); ++n) {
      std::vector<float> values = source;
      round_in_place(dtype, values.data(), static_cast<std::int64_t>(n));
      for (std::size_t i = 0; i < source.size(); ++i) {
        float expected = source[i];
        if (i < n && dtype == DType::kF16) {
          expected = half_to_float(float_to_half(source[i]));
        } else if (i < n && dtype == DType::kBF16) {
          expected = bf16_to_float(float_to_bf16(source[i]));
        }
        ASSERT_EQ(values[i], expected) << dtype_name(dtype) << " " << i << " of " << n;
      }
    }
  }
}

TEST(Convert, TypesWithoutElementsOfTheirOwnAreOurOwnFault) {
  std::array<std::byte, 8> bytes{};
  double out = 0;
  for (const DType dtype : {DType::kF4, DType::kF6E2M3, DType::kC64}) {
    EXPECT_THAT([&] { widen_to_double(dtype, bytes.data(), 1, &out); },
                testing::Throws<Error>(testing::Property(&Error::kind, ErrorKind::kInternal)));
  }
  EXPECT_THAT([&] { narrow_from_double(DType::kI8, &out, 1, bytes.data()); },
              testing::Throws<Error>(testing::Property(&Error::kind, ErrorKind::kInternal)));
}

}  // namespace
}  // namespace mg
