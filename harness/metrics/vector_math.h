// Four doubles at a time, and the few functions the row sums need: exp, ln(1+x), and series for
// small arguments. Written in the compilers' vector extension, so that one text serves every
// instruction set; all functions are forced inline, because this header is compiled with different
// flags in different files.  No standard library function may be used here for the same reason.
// Private to row_sums_body.h.
#pragma once

#include <cstdint>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#define MG_INLINE inline __attribute__((always_inline))

namespace mg {
namespace {

using F4 = float __attribute__((vector_size(16)));
using D4 = double __attribute__((vector_size(32)));
using I4 = std::int64_t __attribute__((vector_size(32)));

MG_INLINE D4 splat(double value) {
  return D4{value, value, value, value};
}

MG_INLINE F4 load_float4(const float* p) {
  F4 floats;
  __builtin_memcpy(&floats, p, sizeof(floats));
  return floats;
}

MG_INLINE D4 load4(const float* p) {
  return __builtin_convertvector(load_float4(p), D4);
}

/// a * b + c, rounded once where the instruction exists.
MG_INLINE D4 fma4(D4 a, D4 b, D4 c) {
#ifdef __FMA__
  return D4(_mm256_fmadd_pd(__m256d(a), __m256d(b), __m256d(c)));
#else
  return a * b + c;
#endif
}

MG_INLINE D4 select4(I4 mask, D4 if_true, D4 if_false) {
#ifdef __AVX2__
  return D4(_mm256_blendv_pd(__m256d(if_false), __m256d(if_true), __m256d(mask)));
#else
  return D4((mask & I4(if_true)) | (~mask & I4(if_false)));
#endif
}

MG_INLINE bool any4(I4 mask) {
#ifdef __AVX2__
  return _mm256_movemask_pd(__m256d(mask)) != 0;
#else
  return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
#endif
}

MG_INLINE D4 abs4(D4 x) {
  const I4 magnitude = I4{} + std::int64_t{0x7FFFFFFFFFFFFFFF};
  return D4(I4(x) & magnitude);
}

MG_INLINE D4 max4(D4 a, D4 b) {
  return select4(a > b, a, b);
}
MG_INLINE D4 min4(D4 a, D4 b) {
  return select4(a < b, a, b);
}

/// Always in this order, whatever the instruction set.
MG_INLINE double sum_of(D4 v) {
  return (v[0] + v[1]) + (v[2] + v[3]);
}

MG_INLINE double larger(double a, double b) {
  return a > b ? a : b;
}
MG_INLINE double smaller(double a, double b) {
  return a < b ? a : b;
}
MG_INLINE double max_of(D4 v) {
  return larger(larger(v[0], v[1]), larger(v[2], v[3]));
}
MG_INLINE double min_of(D4 v) {
  return smaller(smaller(v[0], v[1]), smaller(v[2], v[3]));
}

/// e^x for x <= 700; e^-708 = 3e-308 below that, so that the result is always a normal number.
/// x = n ln 2 + r with |r| <= 0.3466; Taylor to r^13 leaves 0.3466^14 / 14! = 4e-18.
MG_INLINE D4 exp4(D4 argument) {
  const D4 x = max4(argument, splat(-708.0));
  const D4 rounder = splat(6755399441055744.0);  // 1.5 * 2^52: adding it rounds to an integer
  const D4 shifted = fma4(x, splat(1.4426950408889634074), rounder);
  const D4 n = shifted - rounder;
  // ln 2 in two parts; the upper one has 21 trailing zero bits, so that n times it is exact.
  D4 r = fma4(n, splat(-6.93147180369123816490e-01), x);
  r = fma4(n, splat(-1.90821492927058770002e-10), r);
  const D4 r2 = r * r;
  const D4 r4 = r2 * r2;
  // Estrin's scheme: pairs, then pairs of pairs; shorter chains of dependent operations than
  // Horner's.
  const D4 c01 = splat(1.0) + r;
  const D4 c23 = fma4(r, splat(1.0 / 6.0), splat(0.5));
  const D4 c45 = fma4(r, splat(1.0 / 120.0), splat(1.0 / 24.0));
  const D4 c67 = fma4(r, splat(1.0 / 5040.0), splat(1.0 / 720.0));
  const D4 c89 = fma4(r, splat(1.0 / 362880.0), splat(1.0 / 40320.0));
  const D4 cab = fma4(r, splat(1.0 / 39916800.0), splat(1.0 / 3628800.0));
  const D4 ccd = fma4(r, splat(1.0 / 6227020800.0), splat(1.0 / 479001600.0));
  const D4 low = fma4(r2, c23, c01);
  const D4 middle = fma4(r2, c67, c45);
  const D4 high = fma4(r4, ccd, fma4(r2, cab, c89));
  const D4 mantissa = fma4(r4, fma4(r4, high, middle), low);
  // The integer sits in the low bits of `shifted`: moved to the exponent, it multiplies by 2^n.
  return D4(I4(mantissa) + (I4(shifted) << 52));
}

/// ln(1 + x) for 0 <= x <= 1, by ln(y) = 2 atanh((y - 1) / (y + 1)) with y in [1/sqrt 2, sqrt 2];
/// |s| <= 0.1716, and the first term left out is 2 s^23 / 23 < 3e-19.
MG_INLINE D4 log1p4(D4 x) {
  const I4 halve = x > splat(0.41421356237309504880);
  const D4 f = select4(halve, (x - splat(1.0)) * splat(0.5), x);  // y - 1
  const D4 s = f / (splat(2.0) + f);
  const D4 z = s * s;
  D4 t = splat(2.0 / 21.0);
  t = fma4(t, z, splat(2.0 / 19.0));
  t = fma4(t, z, splat(2.0 / 17.0));
  t = fma4(t, z, splat(2.0 / 15.0));
  t = fma4(t, z, splat(2.0 / 13.0));
  t = fma4(t, z, splat(2.0 / 11.0));
  t = fma4(t, z, splat(2.0 / 9.0));
  t = fma4(t, z, splat(2.0 / 7.0));
  t = fma4(t, z, splat(2.0 / 5.0));
  t = fma4(t, z, splat(2.0 / 3.0));
  t = fma4(t, z, splat(2.0));
  return fma4(t, s, select4(halve, splat(0.69314718055994530942), splat(0.0)));
}

/// e^x - 1 - x for |x| <= 1/4: x^2 (1/2 + x/6 + ... + x^11/13!); what is left out is below 2e-18 of
/// it.
MG_INLINE D4 exp_minus_line4(D4 x) {
  const D4 x2 = x * x;
  const D4 x4 = x2 * x2;
  const D4 c01 = fma4(x, splat(1.0 / 6.0), splat(0.5));
  const D4 c23 = fma4(x, splat(1.0 / 120.0), splat(1.0 / 24.0));
  const D4 c45 = fma4(x, splat(1.0 / 5040.0), splat(1.0 / 720.0));
  const D4 c67 = fma4(x, splat(1.0 / 362880.0), splat(1.0 / 40320.0));
  const D4 c89 = fma4(x, splat(1.0 / 39916800.0), splat(1.0 / 3628800.0));
  const D4 cab = fma4(x, splat(1.0 / 6227020800.0), splat(1.0 / 479001600.0));
  const D4 low = fma4(x2, c23, c01);
  const D4 middle = fma4(x2, c67, c45);
  const D4 high = fma4(x2, cab, c89);
  return x2 * fma4(x4, fma4(x4, high, middle), low);
}

/// ln cosh h for |h| <= 1/8: h^2/2 - h^4/12 + h^6/45 - 17 h^8/2520 + ...; what is left out is below
/// 1e-16 of it.
MG_INLINE D4 log_cosh4(D4 h) {
  const D4 y = h * h;
  D4 t = splat(10922.0 / 42567525.0);
  t = fma4(t, y, splat(-691.0 / 935550.0));
  t = fma4(t, y, splat(31.0 / 14175.0));
  t = fma4(t, y, splat(-17.0 / 2520.0));
  t = fma4(t, y, splat(1.0 / 45.0));
  t = fma4(t, y, splat(-1.0 / 12.0));
  t = fma4(t, y, splat(0.5));
  return y * t;
}

}  // namespace
}  // namespace mg
