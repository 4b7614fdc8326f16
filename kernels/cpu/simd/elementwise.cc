// Sums and products of rows, each result rounded to the arithmetic.
#include "kernels/cpu/simd/isa.h"
#include "kernels/cpu/simd/map.h"

namespace mg::cpu::MG_ISA {

void round(Rounding rounding, float* x, std::int64_t n) {
  with_rounding(rounding, [&]<Rounding kRounding>() {
    map(x, x, n, [](Vec v) { return rounded<kRounding>(v); });
  });
}

void add(Rounding rounding, const float* x, float* y, std::int64_t n) {
  with_rounding(rounding, [&]<Rounding kRounding>() {
    map2(x, y, y, n, [](Vec a, Vec b) { return rounded<kRounding>(b + a); });
  });
}

void add_scaled(Rounding rounding, float factor, const float* x, float* y, std::int64_t n) {
  const Vec f = broadcast(factor);
  with_rounding(rounding, [&]<Rounding kRounding>() {
    map2(x, y, y, n,
         [f](Vec a, Vec b) { return rounded<kRounding>(b + rounded<kRounding>(f * a)); });
  });
}

void scale(Rounding rounding, float factor, const float* x, float* out, std::int64_t n) {
  const Vec f = broadcast(factor);
  with_rounding(rounding, [&]<Rounding kRounding>() {
    map(x, out, n, [f](Vec a) { return rounded<kRounding>(f * a); });
  });
}

void multiply(Rounding rounding, const float* factors, float* y, std::int64_t n) {
  with_rounding(rounding, [&]<Rounding kRounding>() {
    map2(factors, y, y, n, [](Vec a, Vec b) { return rounded<kRounding>(b * a); });
  });
}

void rotate(Rounding rounding, const float* cos, const float* sin, float* x1, float* x2,
            std::int64_t n) {
  with_rounding(rounding, [&]<Rounding kRounding>() {
    for (std::int64_t i = 0; i < n; i += kWidth) {
      const std::int64_t left = n - i;
      const bool whole = left >= kWidth;
      const auto get = [&](const float* p) { return whole ? load(p + i) : load_part(p + i, left); };
      const auto put = [&](float* p, Vec v) {
        whole ? store(p + i, v) : store_part(p + i, v, left);
      };
      const Vec c = get(cos);
      const Vec s = get(sin);
      const Vec first = get(x1);
      const Vec second = get(x2);
      put(x1, rounded<kRounding>(rounded<kRounding>(first * c) - rounded<kRounding>(second * s)));
      put(x2, rounded<kRounding>(rounded<kRounding>(second * c) + rounded<kRounding>(first * s)));
    }
  });
}

void fma_array(const float* a, const float* b, const float* c, float* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const std::int64_t left = n - i < kWidth ? n - i : kWidth;
    store_part(out + i, fma(load_part(a + i, left), load_part(b + i, left), load_part(c + i, left)),
               left);
  }
}

}  // namespace mg::cpu::MG_ISA
