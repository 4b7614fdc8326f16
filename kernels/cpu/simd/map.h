// Applies a function of vectors to arrays of any length; the last, partial vector goes through a
// whole one.
#pragma once

#include "kernels/cpu/simd/vec.h"

namespace mg::cpu::MG_ISA {

/// out[i] = f(x[i]); out may be x.
template <typename F>
[[gnu::always_inline]] inline void map(const float* x, float* out, std::int64_t n, const F& f) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    store(out + i, f(load(x + i)));
  }
  if (i < n) {
    store_part(out + i, f(load_part(x + i, n - i)), n - i);
  }
}

/// out[i] = f(x[i], y[i]); out may be x or y.
template <typename F>
[[gnu::always_inline]] inline void map2(const float* x, const float* y, float* out, std::int64_t n,
                                        const F& f) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    store(out + i, f(load(x + i), load(y + i)));
  }
  if (i < n) {
    store_part(out + i, f(load_part(x + i, n - i), load_part(y + i, n - i)), n - i);
  }
}

}  // namespace mg::cpu::MG_ISA
