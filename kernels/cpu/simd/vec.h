// Vectors for the sources in this folder: one vocabulary, three instruction sets, the same bits.
//
// Vec is the machine's native vector; Lanes is always 16 floats, made of as many Vecs as that
// takes.  Element-wise code may use either; whatever sums across lanes uses Lanes, so that the
// order of additions is the same on every machine.  a*b+c is fused only where fma() is called
// (-ffp-contract=off).
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels/cpu/simd/table.h"

#ifndef MG_ISA
#error "compiled once per instruction set with MG_ISA naming it (kernels/CMakeLists.txt)"
#endif

namespace mg::cpu::MG_ISA {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kLanes = 16;
constexpr int kParts = kLanes / kWidth;

using Vec = float __attribute__((vector_size(kWidth * 4)));
using IVec = std::int32_t __attribute__((vector_size(kWidth * 4)));
using UVec = std::uint32_t __attribute__((vector_size(kWidth * 4)));
using UnalignedVec = float __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));

// Native vectors
// --------------------------------------------------------------------------------------------

[[gnu::always_inline]] inline Vec load(const float* p) {
  return *reinterpret_cast<const UnalignedVec*>(p);
}
[[gnu::always_inline]] inline void store(float* p, Vec v) {
  *reinterpret_cast<UnalignedVec*>(p) = v;
}
[[gnu::always_inline]] inline Vec broadcast(float x) {
  return x - Vec{};
}
[[gnu::always_inline]] inline IVec bits(Vec v) {
  return reinterpret_cast<IVec>(v);
}
[[gnu::always_inline]] inline Vec from_bits(IVec v) {
  return reinterpret_cast<Vec>(v);
}
[[gnu::always_inline]] inline IVec broadcast_int(std::int32_t x) {
  return x - IVec{};
}

#if defined(__AVX512F__)
[[gnu::always_inline]] inline Vec fma(Vec a, Vec b, Vec c) {
  return _mm512_fmadd_ps(a, b, c);
}
#elif defined(__AVX2__)
[[gnu::always_inline]] inline Vec fma(Vec a, Vec b, Vec c) {
  return _mm256_fmadd_ps(a, b, c);
}
#elif defined(__FP_FAST_FMAF)
[[gnu::always_inline]] inline Vec fma(Vec a, Vec b, Vec c) {
  for (int i = 0; i < kWidth; ++i) {
    c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  }
  return c;
}
#else
using Double4 = double __attribute__((vector_size(32)));
using Long4 = std::int64_t __attribute__((vector_size(32)));

/// a * b + c rounded once to float, without a fused instruction: the product of two floats is exact
/// in double; the sum is rounded to odd (its last bit records whether anything was lost), after
/// which rounding to float gives the correctly rounded result, since double has more than two bits
/// to spare (Boldo and Melquiond 2008).
[[gnu::always_inline]] inline Vec fma(Vec a, Vec b, Vec c) {
  const Double4 p = __builtin_convertvector(a, Double4) * __builtin_convertvector(b, Double4);
  const Double4 addend = __builtin_convertvector(c, Double4);
  const Double4 s = p + addend;
  const Double4 back = s - p;
  const Double4 lost = (p - (s - back)) + (addend - back);  // TwoSum: s + lost is exact
  const Long4 raw = reinterpret_cast<Long4>(s);
  // Even although inexact: step towards the lost part, by one unit of the last place.  A NaN is
  // left alone.
  const Long4 inexact = ((lost < 0.0) | (lost > 0.0)) & ((raw & 1) == 0);
  const Long4 towards = ((lost > 0.0) == (s > 0.0)) | 1;  // -1 (all bits) or 1 ...
  const Double4 odd = reinterpret_cast<Double4>(raw - (inexact & towards));
  return __builtin_convertvector(odd, Vec);
}
#endif

/// kWidth FP16 values at p (any alignment), exact.
[[gnu::always_inline]] inline Vec load_f16(const std::byte* p) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  std::uint16_t raw[kWidth];
  __builtin_memcpy(raw, p, sizeof(raw));
  UVec h;
  for (int i = 0; i < kWidth; ++i) {
    h[i] = raw[i];
  }
  const UVec sign = (h & 0x8000U) << 16;
  const UVec magnitude = (h & 0x7FFFU) << 13;
  // As an FP32 pattern the exponent is short by 112; scaling by 2^112 also normalises subnormals,
  // exactly.
  const Vec scaled = reinterpret_cast<Vec>(magnitude) * 0x1p112F;
  const UVec special = magnitude | 0x7F800000U;  // Inf and NaN keep their mantissa
  const UVec quiet = magnitude > 0x0F800000U ? special | 0x400000U : special;
  const UVec value = magnitude >= 0x0F800000U ? quiet : reinterpret_cast<UVec>(scaled);
  return reinterpret_cast<Vec>(value | sign);
#endif
}

/// kWidth BF16 values at p (any alignment), exact.
[[gnu::always_inline]] inline Vec load_bf16(const std::byte* p) {
#if defined(__AVX512F__)
  const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
#elif defined(__AVX2__)
  const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
#else
  std::uint16_t raw[kWidth];
  __builtin_memcpy(raw, p, sizeof(raw));
  UVec h;
  for (int i = 0; i < kWidth; ++i) {
    h[i] = raw[i];
  }
  return reinterpret_cast<Vec>(h << 16);
#endif
}

[[gnu::always_inline]] inline Vec load_f32(const std::byte* p) {
  return load(reinterpret_cast<const float*>(p));
}

/// x rounded to the nearest FP16 value (even on ties), overflow to infinity.
[[gnu::always_inline]] inline Vec round_f16(Vec x) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__AVX2__)
  return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#else
  const UVec raw = reinterpret_cast<UVec>(x);
  const UVec sign = raw & 0x80000000U;
  const UVec magnitude = raw & 0x7FFFFFFFU;
  const UVec even = (magnitude + 0xFFFU + ((magnitude >> 13) & 1U)) & ~0x1FFFU;
  // Below 2^-14 the sum with 0.5 has its last bit at 2^-24, FP16's smallest step, and rounds by
  // itself.
  const Vec small = (reinterpret_cast<Vec>(magnitude) + 0.5F) - 0.5F;
  UVec value = magnitude < 0x38800000U ? reinterpret_cast<UVec>(small) : even;
  value = magnitude >= 0x477FF000U ? UVec{} + 0x7F800000U : value;
  value = magnitude > 0x7F800000U ? (magnitude | 0x400000U) & ~0x1FFFU : value;
  return reinterpret_cast<Vec>(value | sign);
#endif
}

/// x rounded to the nearest BF16 value (even on ties).
[[gnu::always_inline]] inline Vec round_bf16(Vec x) {
  const UVec raw = reinterpret_cast<UVec>(x);
  const UVec even = raw + 0x7FFFU + ((raw >> 16) & 1U);
  const UVec value = (raw & 0x7FFFFFFFU) > 0x7F800000U ? raw | 0x400000U : even;
  return reinterpret_cast<Vec>(value & 0xFFFF0000U);
}

template <Rounding kRounding>
[[gnu::always_inline]] inline Vec rounded(Vec x) {
  if constexpr (kRounding == Rounding::kF16) {
    return round_f16(x);
  } else if constexpr (kRounding == Rounding::kBf16) {
    return round_bf16(x);
  } else {
    return x;
  }
}

/// Calls body with the rounding as a template argument: with_rounding(r, [&]<Rounding kRounding>()
/// { ... }).
template <typename Body>
[[gnu::always_inline]] inline void with_rounding(Rounding rounding, const Body& body) {
  switch (rounding) {
    case Rounding::kNone:
      return body.template operator()<Rounding::kNone>();
    case Rounding::kF16:
      return body.template operator()<Rounding::kF16>();
    case Rounding::kBf16:
      return body.template operator()<Rounding::kBf16>();
  }
}

// Arrays of any length
// --------------------------------------------------------------------------------------

/// Copies n < kWidth floats between p and a whole vector; the rest of the vector is `fill`.
[[gnu::always_inline]] inline Vec load_part(const float* p, std::int64_t n, float fill = 0.0F) {
  float whole[kWidth];
  for (int i = 0; i < kWidth; ++i) {
    whole[i] = i < n ? p[i] : fill;
  }
  return load(whole);
}
[[gnu::always_inline]] inline void store_part(float* p, Vec v, std::int64_t n) {
  float whole[kWidth];
  store(whole, v);
  for (std::int64_t i = 0; i < n; ++i) {
    p[i] = whole[i];
  }
}

// 16 lanes, for sums
// --------------------------------------------------------------------------------------------

struct Lanes {
  Vec part[kParts];
};

[[gnu::always_inline]] inline Lanes lanes(float x) {
  Lanes out;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) {
    out.part[i] = broadcast(x);
  }
  return out;
}
[[gnu::always_inline]] inline Lanes load_lanes(const float* p) {
  Lanes out;
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) {
    out.part[i] = load(p + i * kWidth);
  }
  return out;
}
/// The first n of 16 floats at p, then `fill`.
[[gnu::always_inline]] inline Lanes load_lanes(const float* p, std::int64_t n, float fill) {
  float whole[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    whole[i] = i < n ? p[i] : fill;
  }
  return load_lanes(whole);
}

/// Folds the halves of a vector onto each other until one value is left.
template <typename Fold>
[[gnu::always_inline]] inline float fold_vector(Vec v, const Fold& fold) {
#if defined(__AVX512F__)
  v = fold(
      v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
  v = fold(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7));
  v = fold(v, __builtin_shufflevector(v, v, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3));
  v = fold(v, __builtin_shufflevector(v, v, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1));
#elif defined(__AVX2__)
  v = fold(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 4, 5, 6, 7));
  v = fold(v, __builtin_shufflevector(v, v, 2, 3, 2, 3, 2, 3, 2, 3));
  v = fold(v, __builtin_shufflevector(v, v, 1, 1, 1, 1, 1, 1, 1, 1));
#else
  v = fold(v, __builtin_shufflevector(v, v, 2, 3, 2, 3));
  v = fold(v, __builtin_shufflevector(v, v, 1, 1, 1, 1));
#endif
  return v[0];
}

/// ((0+8)+(4+12)) + ... : halves are folded together, the same tree on every machine.
[[gnu::always_inline]] inline float sum(Lanes x) {
#pragma GCC unroll 4
  for (int half = kParts / 2; half > 0; half /= 2) {
#pragma GCC unroll 2
    for (int i = 0; i < half; ++i) {
      x.part[i] = x.part[i] + x.part[i + half];
    }
  }
  return fold_vector(x.part[0], [](Vec low, Vec high) { return low + high; });
}

/// The larger of each pair; where one is a NaN, b.
[[gnu::always_inline]] inline Vec larger(Vec a, Vec b) {
  return a > b ? a : b;
}

}  // namespace mg::cpu::MG_ISA
