// exp, tanh and the activations on native vectors, from our own polynomials (least-maximum fits,
// coefficients rounded to float), so that every machine gives the same bits.  Errors, over all
// finite inputs, are checked by tests/kernels/math_test.cc: exp and tanh 2 units of the last place;
// activations as kernels/contract states. NaN gives NaN everywhere: comparisons are written so that
// a NaN fails them and passes through.
#pragma once

#include "kernels/cpu/simd/vec.h"

namespace mg::cpu::MG_ISA {

/// x, but at most `high` and at least `low`; NaN stays.
[[gnu::always_inline]] inline Vec clamp(Vec x, float low, float high) {
  x = x > high ? broadcast(high) : x;
  return x < low ? broadcast(low) : x;
}

[[gnu::always_inline]] inline Vec abs(Vec x) {
  return from_bits(bits(x) & 0x7FFFFFFF);
}
[[gnu::always_inline]] inline Vec with_sign_of(Vec magnitude, Vec sign) {
  return from_bits(bits(magnitude) | (bits(sign) & broadcast_int(INT32_MIN)));
}

/// a * x + b, x and a vectors, b a constant: one step of Horner's rule.
[[gnu::always_inline]] inline Vec step(Vec a, Vec x, float b) {
  return fma(a, x, broadcast(b));
}

/// e^x as p 2^n: x = n ln 2 + r, |r| <= ln(2)/2, p = e^r = 1 + (r + r^2 q(r)), q of degree 5
/// (relative error 2^-34).  For |x| below 2^21; a NaN gives a NaN p.
struct ScaledPower {
  Vec p;
  IVec n;
};
[[gnu::always_inline]] inline ScaledPower scaled_exp(Vec x) {
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const Vec shifted = fma(x, broadcast(0x1.715476p+0F), broadcast(0x1.8p23F));
  const Vec n = shifted - 0x1.8p23F;
  Vec r = fma(n, broadcast(-0x1.62e4p-1F), x);  // exact: the constant has 15 bits
  r = fma(n, broadcast(-0x1.7f7d1cp-20F), r);
  Vec q = broadcast(0x1.9f081p-13F);
  q = step(q, r, 0x1.6d8db0p-10F);
  q = step(q, r, 0x1.111272p-7F);
  q = step(q, r, 0x1.55548ep-5F);
  q = step(q, r, 0x1.555554p-3F);
  q = step(q, r, 0x1.0p-1F);
  return {fma(r * r, q, r) + 1.0F, bits(shifted) - bits(broadcast(0x1.8p23F))};
}

[[gnu::always_inline]] inline Vec power_of_two(IVec n) {
  return from_bits((n + 127) << 23);
}

/// e^x, everywhere.
[[gnu::always_inline]] inline Vec exp(Vec x) {
  const ScaledPower e = scaled_exp(clamp(x, -104.0F, 89.0F));  // beyond: 0 and infinity
  // 2^n in two factors, so that subnormal results round once and nothing overflows early.
  const IVec half = e.n >> 1;
  return e.p * power_of_two(half) * power_of_two(e.n - half);
}

/// 2^x for x at most about 0, or NaN; 0 below 2^-125.  For probabilities: cheaper than exp,
/// relative error 2^-23.6.
[[gnu::always_inline]] inline Vec exp2_of_negative(Vec x) {
  const Vec shifted = x + 0x1.8p23F;  // as in scaled_exp: an integer in the low bits
  const Vec r = x - (shifted - 0x1.8p23F);
  Vec q = broadcast(0x1.41fbbcp-13F);  // (2^r - 1) / r, |r| <= 1/2, to 2^-28.9
  q = step(q, r, 0x1.5f3e52p-10F);
  q = step(q, r, 0x1.3b2d4cp-7F);
  q = step(q, r, 0x1.c6aee8p-5F);
  q = step(q, r, 0x1.ebfbdcp-3F);
  q = step(q, r, 0x1.62e43p-1F);
  const Vec p = step(q, r, 1.0F);
  return x < -125.0F ? Vec{} : p * power_of_two(bits(shifted) - bits(broadcast(0x1.8p23F)));
}

/// tanh x: a polynomial below 0.625, above 1 - 2 / (e^2x + 1), which no longer cancels.
[[gnu::always_inline]] inline Vec tanh(Vec x) {
  const Vec magnitude = abs(x);
  const Vec large = 1.0F - 2.0F / (exp(magnitude + magnitude) + 1.0F);
  const Vec s = magnitude * magnitude;
  Vec q = broadcast(0x1.16b09ap-9F);
  q = step(q, s, -0x1.0b5f64p-7F);
  q = step(q, s, 0x1.636deap-6F);
  q = step(q, s, -0x1.b9ebf6p-5F);
  q = step(q, s, 0x1.11105ap-3F);
  q = step(q, s, -0x1.555554p-2F);
  const Vec small = fma(magnitude * s, q, magnitude);
  return with_sign_of(magnitude < 0.625F ? small : large, x);
}

/// x / (1 + e^-z): SiLU with z = x.
[[gnu::always_inline]] inline Vec times_sigmoid(Vec x, Vec z) {
  return x / (1.0F + exp(-z));
}

/// x Phi(x), the exact GELU.  Phi(-z) = e^(-z^2/2) R(t), t = 1 / (1 + 0.35 z / sqrt 2), R a
/// polynomial.
[[gnu::always_inline]] inline Vec gelu_erf(Vec x) {
  const Vec near = clamp(x, -20.0F, 20.0F);  // beyond, e^-s is 0; keeps infinities out of `lost`
  const Vec z = abs(near) * 0x1.6a09e6p-1F;
  const Vec t = 1.0F / step(z, broadcast(0x1.666666p-2F), 1.0F);
  Vec q = broadcast(0x1.4031fcp-6F);
  q = step(q, t, -0x1.4d522p-4F);
  q = step(q, t, 0x1.86a088p-4F);
  q = step(q, t, -0x1.4bbd16p-6F);
  q = step(q, t, 0x1.91a2f6p-5F);
  q = step(q, t, 0x1.1e757ap-4F);
  q = step(q, t, 0x1.3a324ap-4F);
  q = step(q, t, 0x1.7fcbeap-4F);
  q = step(q, t, 0x1.93dea8p-4F);
  q = step(q, t, 0x1.94708ep-4F);
  // e^-s for s = x^2 / 2, with the part of the square that rounding lost put back.
  const Vec half = near * 0.5F;
  const Vec s = half * near;
  const Vec lost = fma(half, near, -s);
  const Vec e = exp(-s);
  const Vec tail = fma(-lost, e, e) * (q * t);  // Phi(-|x|)
  const Vec phi = x < 0.0F ? tail : 1.0F - tail;
  return x * phi;
}

/// x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): 0.5 x (1 + tanh u) without its
/// cancellation.
[[gnu::always_inline]] inline Vec gelu_tanh(Vec x) {
  const Vec z = x * step(x * x, broadcast(0x1.2444f2p-4F), 0x1.988454p+0F);  // 2u
  return times_sigmoid(x, z);
}

template <Activation kKind>
[[gnu::always_inline]] inline Vec activate(Vec x) {
  if constexpr (kKind == Activation::kSilu) {
    return times_sigmoid(x, x);
  } else if constexpr (kKind == Activation::kGeluTanh) {
    return gelu_tanh(x);
  } else if constexpr (kKind == Activation::kGeluErf) {
    return gelu_erf(x);
  } else if constexpr (kKind == Activation::kQuickGelu) {
    return times_sigmoid(x, x * 1.702F);
  } else {
    return x < 0.0F ? Vec{} : x;
  }
}

}  // namespace mg::cpu::MG_ISA
