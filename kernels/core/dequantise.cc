#include "kernels/core/dequantise.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/core/error.h"

namespace mg {

const std::array<float, 16> kNf4Levels = {
    -1.0F,
    -0.6961928009986877F,
    -0.5250730514526367F,
    -0.39491748809814453F,
    -0.28444138169288635F,
    -0.18477343022823334F,
    -0.09105003625154495F,
    0.0F,
    0.07958029955625534F,
    0.16093020141124725F,
    0.24611230194568634F,
    0.33791524171829224F,
    0.44070982933044434F,
    0.5626170039176941F,
    0.7229568362236023F,
    1.0F,
};

// Sign, two bits of exponent, one of significand; 12 is the largest magnitude before scaling.
const std::array<float, 16> kFp4Levels = {
    0.0F, 0.0625F / 12.0F,  8.0F / 12.0F,  1.0F,  4.0F / 12.0F,  0.5F,  2.0F / 12.0F,  0.25F,
    0.0F, -0.0625F / 12.0F, -8.0F / 12.0F, -1.0F, -4.0F / 12.0F, -0.5F, -2.0F / 12.0F, -0.25F,
};

namespace {

float load_scale(const std::byte* source, std::int64_t i) {
  float value = 0;
  std::memcpy(&value, source + i * static_cast<std::int64_t>(sizeof(float)), sizeof(float));
  return value;
}

constexpr float kInt8Steps = 127.0F;

// A copy beyond the caches is written past them: half the memory traffic.
constexpr std::int64_t kStreamElements = std::int64_t{1} << 22;
constexpr std::size_t kStreamAlignment = 64;

bool streams(std::int64_t rows, std::int64_t cols, const float* out) {
  return rows * cols >= kStreamElements &&
         reinterpret_cast<std::uintptr_t>(out) % kStreamAlignment == 0;
}

// ---- 4 bits: `count` runs of `n` elements, codes from `first` on, one scale a run ----

struct Runs {
  const std::byte* codes = nullptr;
  std::int64_t first = 0;  // element, counted over all rows
  std::int64_t n = 0;
  std::int64_t count = 0;
  const float* scales = nullptr;
  const float* levels = nullptr;
  float* out = nullptr;
  bool stream = false;
};

unsigned code_at(const std::byte* codes, std::int64_t i) {
  const auto pair = std::to_integer<unsigned>(codes[i / 2]);
  return i % 2 == 0 ? pair >> 4U : pair & 15U;
}

void runs_portable(const Runs& runs) {
  float* out = runs.out;
  std::int64_t element = runs.first;
  for (std::int64_t run = 0; run < runs.count; ++run) {
    float scaled[16];
    for (int level = 0; level < 16; ++level) {
      scaled[level] = runs.levels[level] * runs.scales[run];
    }
    for (std::int64_t i = 0; i < runs.n; ++i) {
      *out++ = scaled[code_at(runs.codes, element++)];
    }
  }
}

using RunsFunction = void (*)(const Runs&);

// ---- 8 bits: `n` codes that share a scale ----

void bytes_portable(const std::byte* codes, std::int64_t n, float scale, float* out, bool) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(std::to_integer<std::int8_t>(codes[i])) * scale / kInt8Steps;
  }
}

/// `stream` asks for an `out` that is aligned.
using BytesFunction = void (*)(const std::byte* codes, std::int64_t n, float scale, float* out,
                               bool stream);

#if defined(__x86_64__)

// Runs start at a whole byte and n is a multiple of 8 here and below; the caller sees to it.
template <bool kStream>
__attribute__((target("avx2"))) void runs_avx2_as(const Runs& runs) {
  const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
  const std::byte* codes = runs.codes + runs.first / 2;
  float* out = runs.out;
  for (std::int64_t run = 0; run < runs.count; ++run) {
    const __m256 scale = _mm256_set1_ps(runs.scales[run]);
    const __m256 low = _mm256_mul_ps(_mm256_loadu_ps(runs.levels), scale);
    const __m256 high = _mm256_mul_ps(_mm256_loadu_ps(runs.levels + 8), scale);
    for (std::int64_t i = 0; i < runs.n; i += 8) {
      std::int32_t four = 0;
      std::memcpy(&four, codes, sizeof(four));
      codes += sizeof(four);
      // The permutation looks at three bits of a code, the blend at the fourth as a sign.
      const __m256i code = _mm256_srlv_epi32(_mm256_set1_epi32(four), shifts);
      const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
      const __m256 values = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code),
                                             _mm256_permutevar8x32_ps(high, code), upper);
      if constexpr (kStream) {
        _mm256_stream_ps(out, values);
      } else {
        _mm256_storeu_ps(out, values);
      }
      out += 8;
    }
  }
}

void runs_avx2(const Runs& runs) {
  (runs.stream ? runs_avx2_as<true> : runs_avx2_as<false>)(runs);
}

__attribute__((target("avx2"))) void bytes_avx2(const std::byte* codes, std::int64_t n, float scale,
                                                float* out, bool stream) {
  const __m256 factor = _mm256_set1_ps(scale);
  const __m256 steps = _mm256_set1_ps(kInt8Steps);
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i));
    const __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight));
    const __m256 decoded = _mm256_div_ps(_mm256_mul_ps(values, factor), steps);
    if (stream) {
      _mm256_stream_ps(out + i, decoded);
    } else {
      _mm256_storeu_ps(out + i, decoded);
    }
  }
  bytes_portable(codes + i, n - i, scale, out + i, false);
}

__attribute__((target("avx512f"))) void runs_avx512(const Runs& runs) {
  const __m512i shifts =
      _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24);
  const __m512 levels = _mm512_loadu_ps(runs.levels);
  const std::byte* codes = runs.codes + runs.first / 2;
  float* out = runs.out;
  for (std::int64_t run = 0; run < runs.count; ++run) {
    const __m512 scaled = _mm512_mul_ps(levels, _mm512_set1_ps(runs.scales[run]));
    for (std::int64_t i = 0; i < runs.n; i += 8) {
      std::int32_t four[2] = {0, 0};
      const bool pair = i + 16 <= runs.n;
      std::memcpy(four, codes, pair ? sizeof(four) : sizeof(four[0]));
      const __m512i both = _mm512_mask_set1_epi32(_mm512_set1_epi32(four[0]), 0xFF00, four[1]);
      const __m512 values = _mm512_permutexvar_ps(_mm512_srlv_epi32(both, shifts), scaled);
      if (runs.stream && pair) {
        _mm512_stream_ps(out, values);
      } else {
        _mm512_mask_storeu_ps(out, pair ? 0xFFFF : 0x00FF, values);
      }
      codes += pair ? sizeof(four) : sizeof(four[0]);
      out += pair ? 16 : 8;
      i += pair ? 8 : 0;
    }
  }
}

__attribute__((target("avx512f"))) void bytes_avx512(const std::byte* codes, std::int64_t n,
                                                     float scale, float* out, bool stream) {
  const __m512 factor = _mm512_set1_ps(scale);
  const __m512 steps = _mm512_set1_ps(kInt8Steps);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i sixteen = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i));
    const __m512 values = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen));
    const __m512 decoded = _mm512_div_ps(_mm512_mul_ps(values, factor), steps);
    if (stream) {
      _mm512_stream_ps(out + i, decoded);
    } else {
      _mm512_storeu_ps(out + i, decoded);
    }
  }
  bytes_portable(codes + i, n - i, scale, out + i, false);
}

#endif

struct Kernels {
  RunsFunction runs = runs_portable;
  BytesFunction bytes = bytes_portable;
};

Kernels kernels_for(DequantiseIsa isa) {
#if defined(__x86_64__)
  const bool best = isa == DequantiseIsa::kBest;
  if (isa == DequantiseIsa::kAvx512 || (best && has_isa(DequantiseIsa::kAvx512))) {
    return {runs_avx512, bytes_avx512};
  }
  if (isa == DequantiseIsa::kAvx2 || (best && has_isa(DequantiseIsa::kAvx2))) {
    return {runs_avx2, bytes_avx2};
  }
#endif
  return {};
}

/// Other threads may read what was written past the caches.
void finish_streams() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

/// One matrix's rows, cut into runs of one scale.
class FourBitRows {
 public:
  FourBitRows(const FourBitMatrix& matrix, float* out, RunsFunction vector)
      : matrix_(matrix), out_(out), vector_(vector) {}

  /// Elements [begin, end), blocks of `block` counted from the first element of the matrix.
  void flat(std::int64_t begin, std::int64_t end) {
    const std::int64_t block = matrix_.block;
    while (begin < end) {
      const std::int64_t index = begin / block;
      if (begin % block == 0 && end - begin >= block) {
        const std::int64_t count = std::min(kBatch, (end - begin) / block);
        for (std::int64_t i = 0; i < count; ++i) {
          scales_[i] = block_scale(matrix_, index + i);
        }
        emit(begin, block, count);
        begin += count * block;
      } else {
        const std::int64_t stop = std::min(end, (index + 1) * block);
        scales_[0] = block_scale(matrix_, index);
        emit(begin, stop - begin, 1);
        begin = stop;
      }
    }
  }

  void by_row(std::int64_t row) {
    const std::int64_t whole = matrix_.cols / matrix_.block;
    for (std::int64_t col = 0; col < matrix_.cols; col += matrix_.block) {
      const std::int64_t n = std::min(matrix_.block, matrix_.cols - col);
      scales_[0] = block_scale(matrix_, row * whole + col / matrix_.block);
      emit(row * matrix_.cols + col, n, 1);
    }
  }

 private:
  static constexpr std::int64_t kBatch = 64;

  void emit(std::int64_t first, std::int64_t n, std::int64_t count) {
    const bool stream = n % 16 == 0 && streams(matrix_.rows, matrix_.cols, out_);
    const Runs runs{matrix_.codes, first, n, count, scales_, matrix_.levels, out_, stream};
    const bool whole_bytes = first % 2 == 0 && n % 8 == 0;
    (whole_bytes ? vector_ : runs_portable)(runs);
    out_ += n * count;
  }

  const FourBitMatrix& matrix_;
  float* out_;
  RunsFunction vector_;
  float scales_[kBatch] = {};
};

}  // namespace

bool has_isa(DequantiseIsa isa) {
  switch (isa) {
    case DequantiseIsa::kBest:
    case DequantiseIsa::kPortable:
      return true;
#if defined(__x86_64__)
    case DequantiseIsa::kAvx2:
      return __builtin_cpu_supports("avx2") != 0;
    case DequantiseIsa::kAvx512:
      return __builtin_cpu_supports("avx512f") != 0;
#else
    default:
      return false;
#endif
  }
  return false;
}

float block_scale(const FourBitMatrix& matrix, std::int64_t index) {
  if (matrix.nested_levels == nullptr) {
    return load_scale(matrix.absmax, index);
  }
  const auto code = std::to_integer<std::int64_t>(matrix.absmax[index]);
  const float product = load_scale(matrix.nested_levels, code) *
                        load_scale(matrix.nested_absmax, index / matrix.nested_block);
  return product + matrix.nested_offset;
}

void dequantise_rows(const FourBitMatrix& matrix, std::int64_t begin, std::int64_t end, float* out,
                     DequantiseIsa isa) {
  MG_CHECK(begin >= 0 && begin <= end && end <= matrix.rows && has_isa(isa),
           "rows of the matrix, on an instruction set that is there");
  FourBitRows rows(matrix, out, kernels_for(isa).runs);
  if (matrix.blocks_by_row) {
    for (std::int64_t row = begin; row < end; ++row) {
      rows.by_row(row);
    }
  } else {
    rows.flat(begin * matrix.cols, end * matrix.cols);
  }
  finish_streams();
}

void dequantise_rows(const EightBitMatrix& matrix, std::int64_t begin, std::int64_t end, float* out,
                     DequantiseIsa isa) {
  MG_CHECK(begin >= 0 && begin <= end && end <= matrix.rows && has_isa(isa),
           "rows of the matrix, on an instruction set that is there");
  constexpr std::int64_t kGroup = 32;
  const BytesFunction bytes = kernels_for(isa).bytes;
  for (std::int64_t row = begin; row < end; ++row) {
    const float scale = load_scale(matrix.scale, row);
    float* line = out + (row - begin) * matrix.cols;
    if (!matrix.col32) {
      bytes(matrix.codes + row * matrix.cols, matrix.cols, scale, line,
            streams(matrix.rows, matrix.cols, line));
      continue;
    }
    for (std::int64_t col = 0; col < matrix.cols; col += kGroup) {
      bytes(matrix.codes + (col / kGroup * matrix.rows + row) * kGroup, kGroup, scale, line + col,
            streams(matrix.rows, matrix.cols, line + col));
    }
  }
  finish_streams();
}

}  // namespace mg
