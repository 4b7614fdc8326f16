// The register tile of every matrix product: kTileRows x kTileCols sums held in registers while k
// runs, one fused multiply-add per term in ascending k.  So an output element's bits depend on its
// row of a, its column of b and kc alone: not on how many rows or columns travel with it, nor on
// the instruction set.
#pragma once

#include "kernels/cpu/simd/vec.h"

namespace mg::cpu::MG_ISA {

#if defined(__AVX512F__)
constexpr int kTileRows = 12;  // 24 of 32 registers hold sums
constexpr int kTileVecs = 2;
#elif defined(__AVX2__)
constexpr int kTileRows = 6;  // 12 of 16
constexpr int kTileVecs = 2;
#else
constexpr int kTileRows = 4;  // 8 of 16
constexpr int kTileVecs = 2;
#endif
constexpr int kTileCols = kTileVecs * kWidth;

/// What becomes of a tile's sums.
enum class TileMode : std::uint8_t {
  kStore,     // c = a b
  kAdd,       // c = c + (a b)
  kContinue,  // the sums start from c instead of 0: c's chain of additions goes on
};

/// A tile of a: element (row, k) at data[row * row_stride + k * k_stride].
struct TileA {
  const float* data;
  std::int64_t row_stride;
  std::int64_t k_stride;
};

/// c [kRows, kTileCols] from a [kRows, kc] and b, whose row k lies at b + k * b_stride.
/// kPacked: a's strides are 1 and kTileRows, known at compile time; else k_stride is 1.
template <int kRows, bool kPacked, TileMode kMode>
[[gnu::always_inline]] inline void tile_body(const TileA& a, const float* __restrict b,
                                             std::int64_t b_stride, std::int64_t kc,
                                             float* __restrict c, std::int64_t c_stride) {
  Vec sums[kRows][kTileVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int j = 0; j < kTileVecs; ++j) {
      if constexpr (kMode == TileMode::kContinue) {
        sums[r][j] = load(c + r * c_stride + j * kWidth);
      } else {
        sums[r][j] = Vec{};
      }
    }
    if constexpr (kMode == TileMode::kAdd) {
      __builtin_prefetch(c + r * c_stride);
    }
  }
  const float* x = a.data;
#pragma GCC unroll 2
  for (std::int64_t k = 0; k < kc; ++k) {
    Vec w[kTileVecs];
#pragma GCC unroll 2
    for (int j = 0; j < kTileVecs; ++j) {
      w[j] = load(b + j * kWidth);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vec value = broadcast(kPacked ? x[r] : x[r * a.row_stride]);
#pragma GCC unroll 2
      for (int j = 0; j < kTileVecs; ++j) {
        sums[r][j] = fma(value, w[j], sums[r][j]);
      }
    }
    x += kPacked ? kTileRows : 1;
    b += b_stride;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int j = 0; j < kTileVecs; ++j) {
      float* target = c + r * c_stride + j * kWidth;
      if constexpr (kMode == TileMode::kAdd) {
        store(target, load(target) + sums[r][j]);
      } else {
        store(target, sums[r][j]);
      }
    }
  }
}

template <bool kPacked, TileMode kMode, int kRows = kTileRows>
[[gnu::always_inline]] inline void tile_rows(std::int64_t rows, const TileA& a, const float* b,
                                             std::int64_t b_stride, std::int64_t kc, float* c,
                                             std::int64_t c_stride) {
  if (rows == kRows) {
    tile_body<kRows, kPacked, kMode>(a, b, b_stride, kc, c, c_stride);
  } else if constexpr (kRows > 1) {
    tile_rows<kPacked, kMode, kRows - 1>(rows, a, b, b_stride, kc, c, c_stride);
  }
}

/// One tile of `rows` (1..kTileRows) rows, all kTileCols columns.
template <bool kPacked, TileMode kMode>
[[gnu::noinline]] void tile(std::int64_t rows, TileA a, const float* b, std::int64_t b_stride,
                            std::int64_t kc, float* c, std::int64_t c_stride) {
  tile_rows<kPacked, kMode>(rows, a, b, b_stride, kc, c, c_stride);
}

/// The same for the first `cols` columns only, through a whole tile in memory.
template <bool kPacked, TileMode kMode>
[[gnu::noinline]] void tile_edge(std::int64_t rows, std::int64_t cols, TileA a, const float* b,
                                 std::int64_t b_stride, std::int64_t kc, float* c,
                                 std::int64_t c_stride) {
  alignas(64) float whole[kTileRows * kTileCols] = {};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t j = 0; j < cols && kMode != TileMode::kStore; ++j) {
      whole[r * kTileCols + j] = c[r * c_stride + j];
    }
  }
  tile_rows<kPacked, kMode>(rows, a, b, b_stride, kc, whole, kTileCols);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t j = 0; j < cols; ++j) {
      c[r * c_stride + j] = whole[r * kTileCols + j];
    }
  }
}

}  // namespace mg::cpu::MG_ISA
