// exp, ln and series in double: the formulas of harness/metrics/vector_math.h, one element at a
// time, so that a device's statistics differ from the host's by the order of their sums alone.
// Not the device library's, for the reason math.cuh gives.
#pragma once

#include "kernels/cuda/scalar.cuh"

namespace mg::cuda {

#ifdef __CUDACC__
__device__ __forceinline__ std::int64_t bits_of(double x) {
  return __double_as_longlong(x);
}
__device__ __forceinline__ double double_of(std::int64_t bits) {
  return __longlong_as_double(bits);
}
#else
inline std::int64_t bits_of(double x) {
  return std::bit_cast<std::int64_t>(x);
}
inline double double_of(std::int64_t bits) {
  return std::bit_cast<double>(bits);
}
#endif

__device__ __forceinline__ double magnitude_of(double x) {
  return double_of(bits_of(x) & 0x7FFFFFFFFFFFFFFFLL);
}

/// e^x for x <= 700; e^-708 below that.  Taylor to r^13 with |r| <= 0.3466 leaves 4e-18.
__device__ __forceinline__ double exp_of(double x) {
  x = x > -708.0 ? x : -708.0;
  const double shifted = fma(x, 1.4426950408889634074, 6755399441055744.0);
  const double n = shifted - 6755399441055744.0;
  double r = fma(n, -6.93147180369123816490e-01, x);
  r = fma(n, -1.90821492927058770002e-10, r);
  double q = 1.0 / 6227020800.0;
  q = fma(q, r, 1.0 / 479001600.0);
  q = fma(q, r, 1.0 / 39916800.0);
  q = fma(q, r, 1.0 / 3628800.0);
  q = fma(q, r, 1.0 / 362880.0);
  q = fma(q, r, 1.0 / 40320.0);
  q = fma(q, r, 1.0 / 5040.0);
  q = fma(q, r, 1.0 / 720.0);
  q = fma(q, r, 1.0 / 120.0);
  q = fma(q, r, 1.0 / 24.0);
  q = fma(q, r, 1.0 / 6.0);
  q = fma(q, r, 0.5);
  q = fma(q, r, 1.0);
  q = fma(q, r, 1.0);
  // The integer sits in the low bits of `shifted`: moved to the exponent, it multiplies by 2^n.
  return double_of(static_cast<std::int64_t>(static_cast<std::uint64_t>(bits_of(q)) +
                                             (static_cast<std::uint64_t>(bits_of(shifted)) << 52)));
}

/// ln(1 + x) for 0 <= x <= 1, by 2 atanh; the first term left out is below 3e-19.
__device__ __forceinline__ double log_one_plus(double x) {
  const bool halve = x > 0.41421356237309504880;
  const double f = halve ? (x - 1.0) * 0.5 : x;
  const double s = f / (2.0 + f);
  const double z = s * s;
  double t = 2.0 / 21.0;
  t = fma(t, z, 2.0 / 19.0);
  t = fma(t, z, 2.0 / 17.0);
  t = fma(t, z, 2.0 / 15.0);
  t = fma(t, z, 2.0 / 13.0);
  t = fma(t, z, 2.0 / 11.0);
  t = fma(t, z, 2.0 / 9.0);
  t = fma(t, z, 2.0 / 7.0);
  t = fma(t, z, 2.0 / 5.0);
  t = fma(t, z, 2.0 / 3.0);
  t = fma(t, z, 2.0);
  return fma(t, s, halve ? 0.69314718055994530942 : 0.0);
}

/// ln x for x >= 1.
__device__ __forceinline__ double log_of(double x) {
  const std::int64_t bits = bits_of(x);
  const auto exponent = static_cast<double>((bits >> 52) - 1023);
  const double mantissa = double_of((bits & 0xFFFFFFFFFFFFFLL) | 0x3FF0000000000000LL);
  return fma(exponent, 0.69314718055994530942, log_one_plus(mantissa - 1.0));
}

/// e^x - 1 - x for |x| <= 1/4; what is left out is below 2e-18 of it.
__device__ __forceinline__ double exp_minus_line(double x) {
  double q = 1.0 / 6227020800.0;
  q = fma(q, x, 1.0 / 479001600.0);
  q = fma(q, x, 1.0 / 39916800.0);
  q = fma(q, x, 1.0 / 3628800.0);
  q = fma(q, x, 1.0 / 362880.0);
  q = fma(q, x, 1.0 / 40320.0);
  q = fma(q, x, 1.0 / 5040.0);
  q = fma(q, x, 1.0 / 720.0);
  q = fma(q, x, 1.0 / 120.0);
  q = fma(q, x, 1.0 / 24.0);
  q = fma(q, x, 1.0 / 6.0);
  q = fma(q, x, 0.5);
  return x * x * q;
}

/// ln cosh h for |h| <= 1/8; what is left out is below 1e-16 of it.
__device__ __forceinline__ double log_cosh(double h) {
  const double y = h * h;
  double t = 10922.0 / 42567525.0;
  t = fma(t, y, -691.0 / 935550.0);
  t = fma(t, y, 31.0 / 14175.0);
  t = fma(t, y, -17.0 / 2520.0);
  t = fma(t, y, 1.0 / 45.0);
  t = fma(t, y, -1.0 / 12.0);
  t = fma(t, y, 0.5);
  return y * t;
}

}  // namespace mg::cuda
