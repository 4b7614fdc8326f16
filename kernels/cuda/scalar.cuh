// One element at a time: how activations and weights are stored, and rounding to it.
// Compiled by nvcc for the device and by the host's compiler for the emulation.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/core/dtype.h"
#include "kernels/cuda/kernels.h"
#ifndef __CUDACC__
#include "kernels/core/half.h"
#endif

namespace mg::cuda {

struct Half {
  std::uint16_t bits;
};
struct Bfloat {
  std::uint16_t bits;
};

#ifdef __CUDACC__
__device__ __forceinline__ std::uint32_t bits_of(float x) {
  return __float_as_uint(x);
}
__device__ __forceinline__ float float_of(std::uint32_t bits) {
  return __uint_as_float(bits);
}
__device__ __forceinline__ float widen(Half x) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
}
__device__ __forceinline__ void narrow(float x, Half& out) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
}
__device__ __forceinline__ void narrow(float x, Bfloat& out) {
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(x));
}
#else
inline std::uint32_t bits_of(float x) {
  return std::bit_cast<std::uint32_t>(x);
}
inline float float_of(std::uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline float widen(Half x) {
  return half_to_float(x.bits);
}
inline void narrow(float x, Half& out) {
  out.bits = float_to_half(x);
}
inline void narrow(float x, Bfloat& out) {
  out.bits = float_to_bf16(x);
}
#endif

__device__ __forceinline__ float widen(float x) {
  return x;
}
__device__ __forceinline__ float widen(Bfloat x) {
  return float_of(static_cast<std::uint32_t>(x.bits) << 16);
}
__device__ __forceinline__ void narrow(float x, float& out) {
  out = x;
}

/// x as it would be stored.
template <typename T>
__device__ __forceinline__ float rounded(float x) {
  T stored;
  narrow(x, stored);
  return widen(stored);
}

/// FP8 E4M3 without infinities: 0x7F and 0xFF are NaN.
__device__ __forceinline__ float widen_e4m3(std::uint8_t bits) {
  const std::uint32_t sign = (bits & 0x80U) << 24;
  const std::uint32_t exponent = (bits >> 3) & 0xFU;
  const std::uint32_t mantissa = bits & 0x7U;
  float magnitude = float_of(((exponent + 120U) << 23) | (mantissa << 20));
  if (exponent == 0) {
    magnitude = static_cast<float>(mantissa) * 0x1p-9F;
  }
  if (exponent == 0xFU && mantissa == 0x7U) {
    magnitude = float_of(0x7FC00000U);
  }
  return float_of(bits_of(magnitude) | sign);
}

/// Element i of stored values, in FP32; the same branch for every thread of a launch.
__device__ __forceinline__ float load_stored(const Stored& from, std::int64_t i) {
  switch (from.dtype) {
    case DType::kF16:
      return widen(static_cast<const Half*>(from.data)[i]);
    case DType::kBF16:
      return widen(static_cast<const Bfloat*>(from.data)[i]);
    case DType::kF64:
      return static_cast<float>(static_cast<const double*>(from.data)[i]);
    case DType::kF8E4M3:
      return widen_e4m3(static_cast<const std::uint8_t*>(from.data)[i]);
    case DType::kF8E5M2: {  // the top byte of an FP16
      const std::uint8_t byte = static_cast<const std::uint8_t*>(from.data)[i];
      return widen(Half{static_cast<std::uint16_t>(byte << 8)});
    }
    default:
      return static_cast<const float*>(from.data)[i];  // the host lets no other dtype through
  }
}

/// The same, rounded to the arithmetic as a server casts what it loads.
template <typename T>
__device__ __forceinline__ float load_weight(const Stored& from, std::int64_t i) {
  return rounded<T>(load_stored(from, i));
}

/// Row r of a matrix.
template <typename T>
__device__ __forceinline__ T* row_of(const Rows& x, std::int64_t r) {
  return static_cast<T*>(x.data) + r * x.stride;
}

/// Calls body with a value of the type activations are stored in.
template <typename Body>
void with_element(Element element, const Body& body) {
  switch (element) {
    case Element::kF32:
      return body(float{});
    case Element::kF16:
      return body(Half{});
    case Element::kBf16:
      return body(Bfloat{});
  }
}

}  // namespace mg::cuda
