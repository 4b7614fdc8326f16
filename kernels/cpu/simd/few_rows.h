// One to kDirectRows rows of activations against 16-bit weights (decoding): memory is the limit, so
// weights go from the file's bytes through registers into the sums, and nowhere else.  Sixteen
// outputs at a time: an 8 x 16 block is transposed as 16-bit values, in half the shuffles that it
// would take as floats, widened, and added in ascending k, which is tile.h's chain of fused
// multiply-adds: the same bits.
#pragma once

#include "kernels/cpu/simd/vec.h"

namespace mg::cpu::MG_ISA {

#if defined(__AVX2__)

constexpr int kDirectRows = 4;
constexpr int kDirectCols = 16;
constexpr int kDirectInputs = 8;
constexpr int kDirectVecs = kDirectCols / kWidth;

/// Weights of kDirectCols outputs, `stride` bytes apart; outputs past the end repeat the last one.
struct DirectWeights {
  const std::byte* row[kDirectCols];
  std::int64_t next;  // bytes from here to the weights that are wanted after these
};

/// block[i] = 16-bit weights of input k + i: outputs 0..7 in the low half, 8..15 in the high one.
template <bool kWhole>
[[gnu::always_inline]] inline void load_block(const DirectWeights& w, std::int64_t k,
                                              std::int64_t inputs,
                                              __m256i (&block)[kDirectInputs]) {
  const auto load8 = [&](int r) {
    if constexpr (kWhole) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(w.row[r] + k * 2));
    }
    std::uint16_t part[kDirectInputs] = {};
    __builtin_memcpy(part, w.row[r] + k * 2, static_cast<std::size_t>(inputs * 2));
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(part));
  };
  __m256i v[kDirectInputs];
#pragma GCC unroll 8
  for (int r = 0; r < kDirectInputs; ++r) {
    v[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(load8(r)), load8(r + kDirectInputs), 1);
  }
  __m256i a[kDirectInputs];  // pairs of outputs: 0 and 1, 2 and 3, ...
#pragma GCC unroll 4
  for (int i = 0; i < kDirectInputs; i += 2) {
    a[i] = _mm256_unpacklo_epi16(v[i], v[i + 1]);      // inputs 0..3
    a[i + 1] = _mm256_unpackhi_epi16(v[i], v[i + 1]);  // inputs 4..7
  }
  __m256i b[kDirectInputs];  // four outputs, two inputs
#pragma GCC unroll 2
  for (int i = 0; i < kDirectInputs; i += 4) {
    b[i] = _mm256_unpacklo_epi32(a[i], a[i + 2]);
    b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 2]);
    b[i + 2] = _mm256_unpacklo_epi32(a[i + 1], a[i + 3]);
    b[i + 3] = _mm256_unpackhi_epi32(a[i + 1], a[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    block[2 * i] = _mm256_unpacklo_epi64(b[i], b[i + 4]);
    block[2 * i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 4]);
  }
}

template <WeightKind kKind>
[[gnu::always_inline]] inline void widen_block(__m256i raw, Vec (&w)[kDirectVecs]) {
#if defined(__AVX512F__)
  if constexpr (kKind == WeightKind::kF16) {
    w[0] = _mm512_cvtph_ps(raw);
  } else {
    w[0] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
  }
#else
  const __m128i half[kDirectVecs] = {_mm256_castsi256_si128(raw), _mm256_extracti128_si256(raw, 1)};
#pragma GCC unroll 2
  for (int j = 0; j < kDirectVecs; ++j) {
    if constexpr (kKind == WeightKind::kF16) {
      w[j] = _mm256_cvtph_ps(half[j]);
    } else {
      w[j] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half[j]), 16));
    }
  }
#endif
}

template <WeightKind kKind, int kRows, bool kWhole>
[[gnu::always_inline]] inline void add_block(const DirectWeights& w, const float* x,
                                             std::int64_t x_stride, std::int64_t k,
                                             std::int64_t inputs, Vec (&sums)[kRows][kDirectVecs]) {
  __m256i block[kDirectInputs];
  load_block<kWhole>(w, k, inputs, block);
#pragma GCC unroll 8
  for (int i = 0; i < kDirectInputs; ++i) {
    if (kWhole || i < inputs) {
      Vec wide[kDirectVecs];
      widen_block<kKind>(block[i], wide);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const Vec value = broadcast(x[r * x_stride + k + i]);
#pragma GCC unroll 2
        for (int j = 0; j < kDirectVecs; ++j) {
          sums[r][j] = fma(value, wide[j], sums[r][j]);
        }
      }
    }
  }
}

/// Sums over inputs [begin, end) of kRows rows and kDirectCols outputs.
template <WeightKind kKind, int kRows>
[[gnu::always_inline]] inline void direct_sums(const DirectWeights& w, const float* x,
                                               std::int64_t x_stride, std::int64_t begin,
                                               std::int64_t end, Vec (&sums)[kRows][kDirectVecs]) {
  constexpr int kAsked =
      4;  // rows whose next line is asked for with each block: a line is 4 blocks
  std::int64_t k = begin;
  for (std::int64_t block = 0; k + kDirectInputs <= end; ++block, k += kDirectInputs) {
#pragma GCC unroll 4
    for (int r = 0; r < kAsked; ++r) {
      __builtin_prefetch(w.row[block % kAsked * kAsked + r] + k * 2 + w.next, 0, 2);
    }
    add_block<kKind, kRows, true>(w, x, x_stride, k, kDirectInputs, sums);
  }
  if (k < end) {
    add_block<kKind, kRows, false>(w, x, x_stride, k, end - k, sums);
  }
}

#else

constexpr int kDirectRows = 0;  // without vectors of 16-bit values in hardware nothing is gained

#endif

}  // namespace mg::cpu::MG_ISA
