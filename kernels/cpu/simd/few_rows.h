// One to kDirectRows rows of activations against 16-bit weights (decoding): memory is the limit, so
// weights go from the file's bytes through registers into the sums, and nowhere else.  Sixteen
// outputs at a time: an 8 x 16 block is transposed as 16-bit values, in half the shuffles that it
// would take as floats, put down in the first-level cache, widened as it is read back (which spares
// the shuffles that would split a vector into halves), and added in ascending k, which is tile.h's
// chain of fused multiply-adds: the same bits.
#pragma once

#include "kernels/cpu/simd/pack.h"

namespace mg::cpu::MG_ISA {

#if defined(__AVX2__)

constexpr int kDirectRows = 4;
constexpr int kDirectCols = 16;
constexpr int kDirectInputs = 8;
constexpr int kDirectVecs = kDirectCols / kWidth;

/// Weights of kDirectCols outputs.
struct DirectWeights {
  const std::byte* first;             // of the first output
  std::int64_t stride;                // bytes between outputs
  std::int64_t next;                  // bytes from here to the weights that are wanted after these
  const std::byte* row[kDirectCols];  // where outputs are missing: the last one again
};

/// Weights of kDirectInputs inputs and kDirectCols outputs, 16 bits each, outputs side by side.
struct DirectBlock {
  alignas(32) std::uint16_t input[kDirectInputs][kDirectCols];
};

template <bool kWhole, bool kAll>
[[gnu::always_inline]] inline void load_block(const DirectWeights& w, std::int64_t k,
                                              std::int64_t inputs, DirectBlock& block) {
  const std::byte* low = w.first + k * 2;
  const std::byte* high = low + 8 * w.stride;
  const auto load8 = [&](int r) {
    const std::byte* p = !kAll   ? w.row[r] + k * 2
                         : r < 8 ? low + r * w.stride
                                 : high + (r - 8) * w.stride;
    if constexpr (kWhole) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    }
    std::uint16_t part[kDirectInputs] = {};
    __builtin_memcpy(part, p, static_cast<std::size_t>(inputs * 2));
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
    _mm256_store_si256(reinterpret_cast<__m256i*>(block.input[2 * i]),
                       _mm256_unpacklo_epi64(b[i], b[i + 4]));
    _mm256_store_si256(reinterpret_cast<__m256i*>(block.input[2 * i + 1]),
                       _mm256_unpackhi_epi64(b[i], b[i + 4]));
  }
  asm volatile("" : "+m"(block));  // or the compiler keeps it in registers and splits them
}

template <WeightKind kKind, int kRows, bool kWhole, bool kAll>
[[gnu::always_inline]] inline void add_block(const DirectWeights& w, const float* x,
                                             std::int64_t x_stride, std::int64_t k,
                                             std::int64_t inputs, Vec (&sums)[kRows][kDirectVecs]) {
  DirectBlock block;
  load_block<kWhole, kAll>(w, k, inputs, block);
#pragma GCC unroll 8
  for (int i = 0; i < kDirectInputs; ++i) {
    if (kWhole || i < inputs) {
      Vec wide[kDirectVecs];
#pragma GCC unroll 2
      for (int j = 0; j < kDirectVecs; ++j) {
        wide[j] =
            Stored<kKind>::widen(reinterpret_cast<const std::byte*>(block.input[i] + j * kWidth));
      }
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
template <WeightKind kKind, int kRows, bool kAll>
[[gnu::always_inline]] inline void direct_sums(const DirectWeights& w, const float* x,
                                               std::int64_t x_stride, std::int64_t begin,
                                               std::int64_t end, Vec (&sums)[kRows][kDirectVecs]) {
  constexpr int kAsked =
      4;  // rows whose next line is asked for with each block: a line is 4 blocks
  std::int64_t k = begin;
  for (; k + kDirectInputs <= end; k += kDirectInputs) {
    const std::byte* asked =
        w.first + w.next + k * 2 + k / kDirectInputs % kAsked * kAsked * w.stride;
#pragma GCC unroll 4
    for (int r = 0; r < kAsked; ++r) {
      __builtin_prefetch(asked + r * w.stride, 0, 2);
    }
    add_block<kKind, kRows, true, kAll>(w, x, x_stride, k, kDirectInputs, sums);
  }
  if (k < end) {
    add_block<kKind, kRows, false, kAll>(w, x, x_stride, k, end - k, sums);
  }
}

#else

constexpr int kDirectRows = 0;  // without vectors of 16-bit values in hardware nothing is gained

#endif

}  // namespace mg::cpu::MG_ISA
