// Rearranges operands for tile.h, widening stored weights on the way: weights into panels of
// kTileCols outputs, [k][kTileCols]; rows of activations into strips of kTileRows, [k][kTileRows].
#pragma once

#include "kernels/cpu/simd/tile.h"

namespace mg::cpu::MG_ISA {

/// Transposes kWidth vectors in place.
#if defined(__AVX512F__)
[[gnu::always_inline]] inline void transpose(Vec (&v)[kWidth]) {
  // Four perfect shuffles: each zips row i with row i + 8.
#pragma GCC unroll 4
  for (int stage = 0; stage < 4; ++stage) {
    Vec zipped[kWidth];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      zipped[2 * i] = __builtin_shufflevector(v[i], v[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                              21, 6, 22, 7, 23);
      zipped[2 * i + 1] = __builtin_shufflevector(v[i], v[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                                  28, 13, 29, 14, 30, 15, 31);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      v[i] = zipped[i];
    }
  }
}
#elif defined(__AVX2__)
[[gnu::always_inline]] inline void transpose(Vec (&v)[kWidth]) {
  // Within the 128-bit halves first (two 4x4 transposes side by side), then the halves change
  // places.
  Vec a[kWidth];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    a[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    a[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  Vec b[kWidth];
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    b[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    b[i + 2] = __builtin_shufflevector(a[i + 1], a[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    b[i + 3] = __builtin_shufflevector(a[i + 1], a[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    v[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}
#else
[[gnu::always_inline]] inline void transpose(Vec (&v)[kWidth]) {
  const Vec a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
  const Vec b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
  const Vec c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
  const Vec d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
  v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
  v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}
#endif

template <WeightKind kKind>
struct Stored {
  static constexpr std::int64_t kBytes = kKind == WeightKind::kF32 ? 4 : 2;
  [[gnu::always_inline]] static Vec widen(const std::byte* p) {
    if constexpr (kKind == WeightKind::kF16) {
      return load_f16(p);
    } else if constexpr (kKind == WeightKind::kBf16) {
      return load_bf16(p);
    } else {
      return load_f32(p);
    }
  }
  /// n < kWidth elements, then zeros.
  [[gnu::always_inline]] static Vec widen_part(const std::byte* p, std::int64_t n) {
    std::byte whole[kWidth * kBytes] = {};
    __builtin_memcpy(whole, p, static_cast<std::size_t>(n * kBytes));
    return widen(whole);
  }
};

constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

/// Rows [0, rows) of k elements, `stride` bytes apart, to out[k][kGroup] for groups of kWidth rows;
/// rows past the end repeat the last one (their results are never stored).  Writes round_up(kc,
/// kWidth) rows of out.
template <WeightKind kKind, int kGroup>
[[gnu::always_inline]] inline void transpose_rows(const std::byte* rows_begin, std::int64_t stride,
                                                  std::int64_t rows, std::int64_t kc, float* out) {
  using Element = Stored<kKind>;
  for (int base = 0; base < kGroup; base += kWidth) {
    const std::byte* row[kWidth];
    for (int i = 0; i < kWidth; ++i) {
      const std::int64_t r = base + i < rows ? base + i : rows - 1;
      row[i] = rows_begin + r * stride;
    }
    for (std::int64_t k = 0; k < kc; k += kWidth) {
      Vec block[kWidth];
      if (k + kWidth <= kc) {
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) {
          block[i] = Element::widen(row[i] + k * Element::kBytes);
        }
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) {
          block[i] = Element::widen_part(row[i] + k * Element::kBytes, kc - k);
        }
      }
      transpose(block);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        store(out + (k + i) * kGroup + base, block[i]);
      }
    }
  }
}

/// One panel: weights of `cols` (1..kTileCols) outputs, kc inputs, to out[kc][kTileCols].
template <WeightKind kKind>
[[gnu::noinline]] void pack_panel(const std::byte* w, std::int64_t stride, bool transposed,
                                  std::int64_t cols, std::int64_t kc, float* out) {
  using Element = Stored<kKind>;
  if (!transposed) {
    transpose_rows<kKind, kTileCols>(w, stride, cols, kc, out);
    return;
  }
  for (std::int64_t k = 0; k < kc; ++k) {
    const std::byte* row = w + k * stride;
    for (int j = 0; j < kTileCols; j += kWidth) {
      const std::int64_t left = cols - j;
      const std::byte* p = row + j * Element::kBytes;
      Vec v = {};
      if (left >= kWidth) {
        v = Element::widen(p);
      } else if (left > 0) {
        v = Element::widen_part(p, left);
      }
      store(out + k * kTileCols + j, v);
    }
  }
}

/// A strip: rows of k elements, given one by one, to out[kc][kTileRows].  Writes up to kWidth
/// floats past the end.
[[gnu::noinline]] inline void pack_strip(const float* const (&row)[kTileRows], std::int64_t kc,
                                         float* out) {
  static_assert(kTileRows <= kWidth);
  std::int64_t k = 0;
  for (; k + kWidth <= kc; k += kWidth) {
    Vec block[kWidth] = {};
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) {
      block[i] = load(row[i] + k);
    }
    transpose(block);
    // Ascending k: what a vector writes past its kTileRows values is overwritten by the next one.
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) {
      store(out + (k + i) * kTileRows, block[i]);
    }
  }
  for (; k < kc; ++k) {
    for (int i = 0; i < kTileRows; ++i) {
      out[k * kTileRows + i] = row[i][k];
    }
  }
}

/// Elements that pack_strip may touch for kc inputs.
constexpr std::int64_t strip_elements(std::int64_t kc) {
  return kc * kTileRows + kWidth;
}

}  // namespace mg::cpu::MG_ISA
