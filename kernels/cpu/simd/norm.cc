#include "kernels/cpu/simd/isa.h"
#include "kernels/cpu/simd/map.h"

namespace mg::cpu::MG_ISA {
namespace {

/// Sum over i of f(x[i]) in 16 interleaved partial sums, then the tree of sum().  f(padding) must
/// be 0.
template <typename F>
[[gnu::always_inline]] inline float sum_over(const float* x, std::int64_t n, float padding,
                                             const F& accumulate) {
  Lanes total = lanes(0.0F);
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const Lanes v = i + kLanes <= n ? load_lanes(x + i) : load_lanes(x + i, n - i, padding);
#pragma GCC unroll 4
    for (int p = 0; p < kParts; ++p) {
      total.part[p] = accumulate(v.part[p], total.part[p]);
    }
  }
  return sum(total);
}

float inverse_root(float mean_square, double eps) {
  return static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(mean_square) + eps));
}

}  // namespace

void rms_norm(Rounding rounding, bool round_normal, const float* x, const float* gain, double eps,
              float* out, std::int64_t n) {
  const float squares = sum_over(x, n, 0.0F, [](Vec v, Vec total) { return fma(v, v, total); });
  const Vec factor = broadcast(inverse_root(squares / static_cast<float>(n), eps));
  with_rounding(rounding, [&]<Rounding kRounding>() {
    if (round_normal) {
      map2(x, gain, out, n, [factor](Vec v, Vec g) {
        return rounded<kRounding>(rounded<kRounding>(v * factor) * g);
      });
    } else {
      map2(x, gain, out, n,
           [factor](Vec v, Vec g) { return rounded<kRounding>((v * factor) * g); });
    }
  });
}

void layer_norm(Rounding rounding, const float* x, const float* gain, const float* shift,
                double eps, float* out, std::int64_t n) {
  const auto count = static_cast<float>(n);
  const float mean = sum_over(x, n, 0.0F, [](Vec v, Vec total) { return total + v; }) / count;
  const Vec centre = broadcast(mean);
  const float squares = sum_over(x, n, mean, [centre](Vec v, Vec total) {
    const Vec d = v - centre;
    return fma(d, d, total);
  });
  const Vec factor = broadcast(inverse_root(squares / count, eps));
  with_rounding(rounding, [&]<Rounding kRounding>() {
    for (std::int64_t i = 0; i < n; i += kWidth) {
      const std::int64_t left = n - i < kWidth ? n - i : kWidth;
      const auto get = [&](const float* p) {
        return left == kWidth ? load(p + i) : load_part(p + i, left);
      };
      const Vec normal = (get(x) - centre) * factor;
      const Vec value = shift != nullptr ? fma(normal, get(gain), get(shift)) : normal * get(gain);
      left == kWidth ? store(out + i, rounded<kRounding>(value))
                     : store_part(out + i, rounded<kRounding>(value), left);
    }
  });
}

}  // namespace mg::cpu::MG_ISA
