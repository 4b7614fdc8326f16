// exp, tanh and the activations: the polynomials of kernels/cpu/simd/math.h, one element at a time.
// Not the device library's: these have their error proven over all inputs
// (tests/kernels/math_test.cc) and give the same bits here, in the emulation and on the CPU.
#pragma once

#include "kernels/cuda/scalar.cuh"

namespace mg::cuda {

/// e^x as p 2^n; for |x| below 2^21.
struct ScaledPower {
  float p;
  std::int32_t n;
};
__device__ __forceinline__ ScaledPower scaled_exp(float x) {
  const float shifted = fmaf(x, 0x1.715476p+0F, 0x1.8p23F);
  const float n = shifted - 0x1.8p23F;
  float r = fmaf(n, -0x1.62e4p-1F, x);
  r = fmaf(n, -0x1.7f7d1cp-20F, r);
  float q = 0x1.9f081p-13F;
  q = fmaf(q, r, 0x1.6d8db0p-10F);
  q = fmaf(q, r, 0x1.111272p-7F);
  q = fmaf(q, r, 0x1.55548ep-5F);
  q = fmaf(q, r, 0x1.555554p-3F);
  q = fmaf(q, r, 0x1.0p-1F);
  return {fmaf(r * r, q, r) + 1.0F,
          static_cast<std::int32_t>(bits_of(shifted) - bits_of(0x1.8p23F))};
}

__device__ __forceinline__ float power_of_two(std::int32_t n) {
  return float_of(static_cast<std::uint32_t>(n + 127) << 23);
}

/// e^x, everywhere.
__device__ __forceinline__ float exp_of(float x) {
  x = x > 89.0F ? 89.0F : x;
  x = x < -104.0F ? -104.0F : x;  // a NaN is neither
  const ScaledPower e = scaled_exp(x);
  const std::int32_t half = e.n >> 1;
  return e.p * power_of_two(half) * power_of_two(e.n - half);
}

/// e^x for x <= 0 or NaN; 0 below -86.
__device__ __forceinline__ float exp_of_negative(float x) {
  const ScaledPower e = scaled_exp(x);
  return x < -86.0F ? 0.0F : e.p * power_of_two(e.n);
}

__device__ __forceinline__ float tanh_of(float x) {
  const float magnitude = float_of(bits_of(x) & 0x7FFFFFFFU);
  const float large = 1.0F - 2.0F / (exp_of(magnitude + magnitude) + 1.0F);
  const float s = magnitude * magnitude;
  float q = 0x1.16b09ap-9F;
  q = fmaf(q, s, -0x1.0b5f64p-7F);
  q = fmaf(q, s, 0x1.636deap-6F);
  q = fmaf(q, s, -0x1.b9ebf6p-5F);
  q = fmaf(q, s, 0x1.11105ap-3F);
  q = fmaf(q, s, -0x1.555554p-2F);
  const float small = fmaf(magnitude * s, q, magnitude);
  const float result = magnitude < 0.625F ? small : large;
  return float_of(bits_of(result) | (bits_of(x) & 0x80000000U));
}

/// x / (1 + e^-z): SiLU with z = x.
__device__ __forceinline__ float times_sigmoid(float x, float z) {
  return x / (1.0F + exp_of(-z));
}

__device__ __forceinline__ float gelu_tanh(float x) {
  return times_sigmoid(x, x * fmaf(x * x, 0x1.2444f2p-4F, 0x1.988454p+0F));
}

__device__ __forceinline__ float gelu_erf(float x) {
  float near = x > 20.0F ? 20.0F : x;
  near = near < -20.0F ? -20.0F : near;
  const float z = float_of(bits_of(near) & 0x7FFFFFFFU) * 0x1.6a09e6p-1F;
  const float t = 1.0F / fmaf(z, 0x1.666666p-2F, 1.0F);
  float q = 0x1.4031fcp-6F;
  q = fmaf(q, t, -0x1.4d522p-4F);
  q = fmaf(q, t, 0x1.86a088p-4F);
  q = fmaf(q, t, -0x1.4bbd16p-6F);
  q = fmaf(q, t, 0x1.91a2f6p-5F);
  q = fmaf(q, t, 0x1.1e757ap-4F);
  q = fmaf(q, t, 0x1.3a324ap-4F);
  q = fmaf(q, t, 0x1.7fcbeap-4F);
  q = fmaf(q, t, 0x1.93dea8p-4F);
  q = fmaf(q, t, 0x1.94708ep-4F);
  const float half = near * 0.5F;
  const float s = half * near;
  const float lost = fmaf(half, near, -s);
  const float e = exp_of(-s);
  const float tail = fmaf(-lost, e, e) * (q * t);
  const float phi = x < 0.0F ? tail : 1.0F - tail;
  return x * phi;
}

template <ActivationKind kKind>
__device__ __forceinline__ float activate(float x) {
  if constexpr (kKind == ActivationKind::kSilu) {
    return times_sigmoid(x, x);
  } else if constexpr (kKind == ActivationKind::kGeluTanh) {
    return gelu_tanh(x);
  } else if constexpr (kKind == ActivationKind::kGeluErf) {
    return gelu_erf(x);
  } else if constexpr (kKind == ActivationKind::kQuickGelu) {
    return times_sigmoid(x, x * 1.702F);
  } else {
    return x < 0.0F ? 0.0F : x;  // NaN stays
  }
}

}  // namespace mg::cuda
