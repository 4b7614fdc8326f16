// Every instruction set gives the bits of one product per element, written out, at every length,
// alignment and block; tests/io/quantised_test.cc holds the numbers against bitsandbytes' own.
#include "kernels/core/dequantise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <vector>

#include "tests/core/code_bytes.h"

namespace mg {
namespace {

using test::random_bytes;
using test::random_scales;

float scale_at(const std::byte* from, std::int64_t i) {
  float value = 0;
  std::memcpy(&value, from + i * 4, sizeof(value));
  return value;
}

std::vector<DequantiseIsa> instruction_sets() {
  std::vector<DequantiseIsa> sets{DequantiseIsa::kBest, DequantiseIsa::kPortable};
  for (const DequantiseIsa isa : {DequantiseIsa::kAvx2, DequantiseIsa::kAvx512}) {
    if (has_isa(isa)) {
      sets.push_back(isa);
    }
  }
  return sets;
}

/// Bits, so that NaN equals itself and -0 does not equal 0.
void expect_same_bits(const std::vector<float>& actual, const std::vector<float>& expected,
                      std::int64_t cols, DequantiseIsa isa) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(actual[i]), std::bit_cast<std::uint32_t>(expected[i]))
        << "element " << i << " of rows of " << cols << ", set " << static_cast<int>(isa);
  }
}

struct Blocks {
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t block;
  bool by_row;
};

constexpr Blocks kBlocks[] = {{4, 128, 64, false},  {5, 112, 64, false}, {5, 112, 64, true},
                              {3, 13, 32, false},   {7, 1, 32, false},   {3, 64, 128, true},
                              {3, 64, 4096, false}, {2, 5000, 64, false}};

TEST(FourBits, EverySetGivesOneProductPerElement) {
  for (const Blocks& shape : kBlocks) {
    const std::vector<std::byte> codes =
        random_bytes(static_cast<std::size_t>((shape.rows * shape.cols + 1) / 2), 1);
    FourBitMatrix matrix{.rows = shape.rows,
                         .cols = shape.cols,
                         .codes = codes.data(),
                         .levels = kNf4Levels.data(),
                         .block = shape.block,
                         .blocks_by_row = shape.by_row};
    const std::vector<std::byte> absmax = random_scales(matrix.blocks());
    matrix.absmax = absmax.data() + 1;
    std::vector<float> expected;
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      for (std::int64_t col = 0; col < shape.cols; ++col) {
        const std::int64_t i = row * shape.cols + col;
        const auto pair = std::to_integer<unsigned>(codes[static_cast<std::size_t>(i / 2)]);
        const unsigned code = i % 2 == 0 ? pair / 16 : pair % 16;
        const std::int64_t block =
            shape.by_row ? row * (shape.cols / shape.block) + col / shape.block : i / shape.block;
        expected.push_back(kNf4Levels[code] * scale_at(matrix.absmax, block));
      }
    }
    for (const DequantiseIsa isa : instruction_sets()) {
      std::vector<float> actual(expected.size());
      dequantise_rows(matrix, 0, shape.rows, actual.data(), isa);
      expect_same_bits(actual, expected, shape.cols, isa);
      // Row by row: rows of odd length begin in the middle of a byte.
      for (std::int64_t row = 0; row < shape.rows; ++row) {
        dequantise_rows(matrix, row, row + 1, actual.data() + row * shape.cols, isa);
      }
      expect_same_bits(actual, expected, shape.cols, isa);
    }
  }
}

TEST(FourBits, ANestedScaleIsAProductAndThenASum) {
  const std::vector<std::byte> codes = random_bytes(64 * 600 / 2, 1);
  const std::vector<std::byte> absmax = random_bytes(600, 2);
  const std::vector<std::byte> levels = random_scales(256);
  const std::vector<std::byte> nested = random_scales(3);
  const FourBitMatrix matrix{.rows = 600,
                             .cols = 64,
                             .codes = codes.data(),
                             .levels = kFp4Levels.data(),
                             .block = 64,
                             .absmax = absmax.data(),
                             .nested_levels = levels.data() + 1,
                             .nested_absmax = nested.data() + 1,
                             .nested_block = 256,
                             .nested_offset = 0.3F};
  for (const std::int64_t block : {0, 255, 256, 599}) {
    const float product =
        scale_at(levels.data() + 1,
                 std::to_integer<std::int64_t>(absmax[static_cast<std::size_t>(block)])) *
        scale_at(nested.data() + 1, block / 256);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(block_scale(matrix, block)),
              std::bit_cast<std::uint32_t>(product + 0.3F))
        << block;
  }
}

// Large matrices are written past the caches, where the address allows it.
TEST(FourBits, ALargeMatrixHasTheSameBitsAtAnyAddress) {
  constexpr std::int64_t kRows = 1025;
  constexpr std::int64_t kCols = 4096;
  const std::vector<std::byte> codes = random_bytes(kRows * kCols, 5);
  const std::vector<std::byte> absmax = random_scales(kRows * kCols / 64);
  const FourBitMatrix four{.rows = kRows,
                           .cols = kCols,
                           .codes = codes.data(),
                           .levels = kNf4Levels.data(),
                           .block = 64,
                           .absmax = absmax.data() + 1};
  const EightBitMatrix eight{
      .rows = kRows, .cols = kCols, .codes = codes.data(), .scale = absmax.data() + 1};
  const auto check = [](const auto& matrix) {
    std::vector<float> expected(kRows * kCols);
    dequantise_rows(matrix, 0, kRows, expected.data(), DequantiseIsa::kPortable);
    std::vector<float> room(kRows * kCols + 32);
    for (const DequantiseIsa isa : instruction_sets()) {
      for (const std::size_t offset : {0, 1, 16}) {
        float* out = room.data() + offset;
        dequantise_rows(matrix, 0, kRows, out, isa);
        EXPECT_EQ(std::memcmp(out, expected.data(), expected.size() * sizeof(float)), 0)
            << "set " << static_cast<int>(isa) << ", offset " << offset;
      }
    }
  };
  check(four);
  check(eight);
}

TEST(EightBits, EverySetScalesAndThenDivides) {
  for (const std::int64_t cols : {1, 7, 32, 96, 200}) {
    constexpr std::int64_t kRows = 9;
    const std::vector<std::byte> codes = random_bytes(static_cast<std::size_t>(kRows * cols), 3);
    const std::vector<std::byte> scale = random_scales(kRows);
    std::vector<float> expected;
    for (std::int64_t i = 0; i < kRows * cols; ++i) {
      const auto code = std::to_integer<std::int8_t>(codes[static_cast<std::size_t>(i)]);
      expected.push_back(static_cast<float>(code) * scale_at(scale.data() + 1, i / cols) / 127.0F);
    }
    // The same numbers with their columns in groups of 32.
    std::vector<std::byte> grouped(codes.size());
    for (std::int64_t i = 0; cols % 32 == 0 && i < kRows * cols; ++i) {
      const std::int64_t row = i / cols;
      const std::int64_t col = i % cols;
      grouped[static_cast<std::size_t>(col / 32 * kRows * 32 + row * 32 + col % 32)] =
          codes[static_cast<std::size_t>(i)];
    }
    for (const DequantiseIsa isa : instruction_sets()) {
      for (const bool col32 : {false, true}) {
        if (col32 && cols % 32 != 0) {
          continue;
        }
        const EightBitMatrix matrix{.rows = kRows,
                                    .cols = cols,
                                    .codes = col32 ? grouped.data() : codes.data(),
                                    .scale = scale.data() + 1,
                                    .col32 = col32};
        std::vector<float> actual(expected.size());
        dequantise_rows(matrix, 0, 4, actual.data(), isa);
        dequantise_rows(matrix, 4, kRows, actual.data() + 4 * cols, isa);
        expect_same_bits(actual, expected, cols, isa);
      }
    }
  }
}

}  // namespace
}  // namespace mg
