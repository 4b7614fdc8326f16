#include "kernels/core/convert.h"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/core/error.h"
#include "kernels/core/half.h"
#include "kernels/core/rounding.h"
#include "kernels/core/vec4.h"

namespace mg {
namespace {

template <typename T>
T load(const std::byte* source, std::int64_t i) {
  T value;
  std::memcpy(&value, source + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void store(std::byte* out, std::int64_t i, T value) {
  std::memcpy(out + static_cast<std::size_t>(i) * sizeof(T), &value, sizeof(T));
}

template <typename Out>
void widen_scalar(DType dtype, const std::byte* source, std::int64_t begin, std::int64_t n,
                  Out* out) {
  const auto each = [&](auto read) {
    for (std::int64_t i = begin; i < n; ++i) {
      out[i] = static_cast<Out>(read(i));
    }
  };
  switch (dtype) {
    case DType::kF16:
      return each([&](std::int64_t i) { return half_to_float(load<std::uint16_t>(source, i)); });
    case DType::kBF16:
      return each([&](std::int64_t i) { return bf16_to_float(load<std::uint16_t>(source, i)); });
    case DType::kF32:
      return each([&](std::int64_t i) { return load<float>(source, i); });
    case DType::kF64:
      return each([&](std::int64_t i) { return load<double>(source, i); });
    case DType::kF8E4M3:
      return each([&](std::int64_t i) { return f8e4m3_to_float(load<std::uint8_t>(source, i)); });
    case DType::kF8E5M2:
      return each([&](std::int64_t i) { return f8e5m2_to_float(load<std::uint8_t>(source, i)); });
    case DType::kBool:
    case DType::kU8:
      return each([&](std::int64_t i) { return load<std::uint8_t>(source, i); });
    case DType::kI8:
      return each([&](std::int64_t i) { return load<std::int8_t>(source, i); });
    case DType::kU16:
      return each([&](std::int64_t i) { return load<std::uint16_t>(source, i); });
    case DType::kI16:
      return each([&](std::int64_t i) { return load<std::int16_t>(source, i); });
    case DType::kU32:
      return each([&](std::int64_t i) { return load<std::uint32_t>(source, i); });
    case DType::kI32:
      return each([&](std::int64_t i) { return load<std::int32_t>(source, i); });
    case DType::kU64:
      return each([&](std::int64_t i) { return load<std::uint64_t>(source, i); });
    case DType::kI64:
      return each([&](std::int64_t i) { return load<std::int64_t>(source, i); });
    default:
      MG_CHECK(false, "dtype has no element-wise conversion");
  }
}

#if defined(__x86_64__)

__attribute__((target("avx2,f16c"))) std::int64_t widen_float_avx2(DType dtype,
                                                                   const std::byte* source,
                                                                   std::int64_t n, float* out) {
  const auto* halves = reinterpret_cast<const std::uint16_t*>(source);
  std::int64_t i = 0;
  if (dtype == DType::kF16) {
    for (; i + 8 <= n; i += 8) {
      const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i));
      _mm256_storeu_ps(out + i, _mm256_cvtph_ps(raw));
    }
  } else if (dtype == DType::kBF16) {
    for (; i + 8 <= n; i += 8) {
      const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i));
      const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), wide);
    }
  }
  return i;
}

__attribute__((target("avx2,f16c"))) std::int64_t widen_double_avx2(DType dtype,
                                                                    const std::byte* source,
                                                                    std::int64_t n, double* out) {
  const auto* halves = reinterpret_cast<const std::uint16_t*>(source);
  std::int64_t i = 0;
  if (dtype == DType::kF16 || dtype == DType::kBF16) {
    for (; i + 8 <= n; i += 8) {
      const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i));
      const __m256 wide =
          dtype == DType::kF16
              ? _mm256_cvtph_ps(raw)
              : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
      _mm256_storeu_pd(out + i, _mm256_cvtps_pd(_mm256_castps256_ps128(wide)));
      _mm256_storeu_pd(out + i + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(wide, 1)));
    }
  }
  return i;
}

__attribute__((target("avx2,f16c"))) std::int64_t round_half_avx2(float* values, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i narrow = _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_ps(values + i, _mm256_cvtph_ps(narrow));
  }
  return i;
}

// Rounds blocks on the grid in double, then packs: every step after the rounding is exact.  Returns
// how many elements it did; a block with a NaN is left to the scalar code, which defines a NaN's
// bits.
__attribute__((target("avx2,f16c"))) std::int64_t narrow_half_avx2(DType dtype,
                                                                   const double* source,
                                                                   std::int64_t n, std::byte* out) {
  constexpr std::int64_t kBlock = 64;
  const GridFormat format = grid_format(dtype);
  auto* halves = reinterpret_cast<std::uint16_t*>(out);
  alignas(32) float rounded[kBlock];
  std::int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    Mask4 unordered = {};
    for (std::int64_t j = 0; j < kBlock; j += 4) {
      Vec4 x;
      load4(source + i + j, x);
      unordered |= x != x;
      round_to_grid(x, format, x);
      double lanes[4];
      store4(x, lanes);
      _mm_store_ps(rounded + j, _mm256_cvtpd_ps(_mm256_loadu_pd(lanes)));
    }
    if (any(unordered)) {
      return i;
    }
    for (std::int64_t j = 0; j < kBlock; j += 8) {
      const __m256 values = _mm256_load_ps(rounded + j);
      __m128i packed;
      if (dtype == DType::kF16) {
        packed = _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT);
      } else {
        const __m256i top = _mm256_srli_epi32(_mm256_castps_si256(values), 16);
        packed = _mm_packus_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
      }
      _mm_storeu_si128(reinterpret_cast<__m128i*>(halves + i + j), packed);
    }
  }
  return i;
}

__attribute__((target("avx2"))) void round_double_avx2(const GridFormat& format, double* values,
                                                       std::int64_t n) {
  const GridFormat local = format;
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    Vec4 x;
    load4(values + i, x);
    round_to_grid(x, local, x);
    store4(x, values + i);
  }
  for (; i < n; ++i) {
    values[i] = round_to_grid(values[i], local);
  }
}

// AVX2 implies F16C: every CPU with the former has the latter, and clang 14's builtin cannot ask
// for it.
bool has_avx2_f16c() {
  return __builtin_cpu_supports("avx2");
}

#endif

}  // namespace

void widen_to_float(DType dtype, const std::byte* source, std::int64_t n, float* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, source, static_cast<std::size_t>(n) * sizeof(float));
    return;
  }
  std::int64_t done = 0;
#if defined(__x86_64__)
  if (has_avx2_f16c()) {
    done = widen_float_avx2(dtype, source, n, out);
  }
#endif
  widen_scalar(dtype, source, done, n, out);
}

void widen_to_double(DType dtype, const std::byte* source, std::int64_t n, double* out) {
  std::int64_t done = 0;
#if defined(__x86_64__)
  if (has_avx2_f16c()) {
    done = widen_double_avx2(dtype, source, n, out);
  }
#endif
  widen_scalar(dtype, source, done, n, out);
}

void narrow_from_double(DType dtype, const double* source, std::int64_t n, std::byte* out) {
#if defined(__x86_64__)
  if ((dtype == DType::kF16 || dtype == DType::kBF16) && has_avx2_f16c()) {
    const std::int64_t done = narrow_half_avx2(dtype, source, n, out);
    source += done;
    out += static_cast<std::size_t>(done) * sizeof(std::uint16_t);
    n -= done;
  }
#endif
  const auto each = [&](auto convert) {
    for (std::int64_t i = 0; i < n; ++i) {
      store(out, i, convert(source[i]));
    }
  };
  switch (dtype) {
    case DType::kF16:
      return each([](double value) { return double_to_half(value); });
    case DType::kBF16:
      return each([](double value) { return double_to_bf16(value); });
    case DType::kF32:
      return each([](double value) { return static_cast<float>(value); });
    case DType::kF64:
      return each([](double value) { return value; });
    default:
      MG_CHECK(false, "can narrow to F16, BF16, F32 and F64 only");
  }
}

void narrow_from_float(DType dtype, const float* source, std::int64_t n, std::byte* out) {
  const auto each = [&](auto convert) {
    for (std::int64_t i = 0; i < n; ++i) {
      store(out, i, convert(source[i]));
    }
  };
  switch (dtype) {
    case DType::kF16:
      return each([](float value) { return float_to_half(value); });
    case DType::kBF16:
      return each([](float value) { return float_to_bf16(value); });
    case DType::kF32:
      std::memcpy(out, source, static_cast<std::size_t>(n) * sizeof(float));
      return;
    default:
      MG_CHECK(false, "can narrow to F16, BF16 and F32 only");
  }
}

void round_in_place(DType dtype, double* values, std::int64_t n) {
  if (dtype == DType::kF64) {
    return;
  }
  const GridFormat format = grid_format(dtype);
#if defined(__x86_64__)
  if (has_avx2_f16c()) {
    round_double_avx2(format, values, n);
    return;
  }
#endif
  for (std::int64_t i = 0; i < n; ++i) {
    values[i] = round_to_grid(values[i], format);
  }
}

void round_in_place(DType dtype, float* values, std::int64_t n) {
  std::int64_t i = 0;
  switch (dtype) {
    case DType::kF32:
      return;
    case DType::kF16:
#if defined(__x86_64__)
      if (has_avx2_f16c()) {
        i = round_half_avx2(values, n);
      }
#endif
      for (; i < n; ++i) {
        values[i] = half_to_float(float_to_half(values[i]));
      }
      return;
    case DType::kBF16:
      for (; i < n; ++i) {
        values[i] = bf16_to_float(float_to_bf16(values[i]));
      }
      return;
    default:
      MG_CHECK(false, "activations round to F16, BF16 or F32 only");
  }
}

}  // namespace mg
