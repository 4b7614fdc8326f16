#include "kernels/core/scaled_codes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "kernels/core/half.h"

namespace mg {
namespace {

constexpr auto kAwqNibble = std::to_array<unsigned>({0, 4, 1, 5, 2, 6, 3, 7});

template <typename T>
T stored_at(const std::byte* data, std::int64_t index) {
  T value{};
  std::memcpy(&value, data + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

std::uint8_t byte_at(const std::byte* data, std::int64_t index) {
  return std::to_integer<std::uint8_t>(data[index]);
}

/// 2^(byte - 127).  255 is NaN for a tensor of dtype F8_E8M0; where the exponent is a plain byte,
/// the libraries raise 2 to it, which is infinity.
float power_of(std::uint8_t byte) {
  return std::ldexp(1.0F, static_cast<int>(byte) - 127);
}

float scale_at(const ScaledCodes& matrix, std::int64_t index) {
  switch (matrix.scale_dtype) {
    case DType::kF16:
      return half_to_float(stored_at<std::uint16_t>(matrix.scales, index));
    case DType::kBF16:
      return bf16_to_float(stored_at<std::uint16_t>(matrix.scales, index));
    case DType::kF8E8M0: {
      const std::uint8_t byte = byte_at(matrix.scales, index);
      return byte == 255 ? std::numeric_limits<float>::quiet_NaN() : power_of(byte);
    }
    case DType::kU8:
      return power_of(byte_at(matrix.scales, index));
    default:
      MG_CHECK(matrix.scale_dtype == DType::kF32, "scales are F32, F16, BF16 or exponents");
      return stored_at<float>(matrix.scales, index);
  }
}

std::array<float, 256> e4m3_values() {
  std::array<float, 256> values{};
  for (unsigned code = 0; code < 256; ++code) {
    values[code] = f8e4m3_to_float(static_cast<std::uint8_t>(code));
  }
  return values;
}

std::uint32_t packed_at(const CodeGrid& codes, std::int64_t row, std::int64_t col) {
  const std::int64_t word =
      (row / codes.rows_a_word) * codes.row_stride + (col / codes.cols_a_word) * codes.col_stride;
  auto place = static_cast<unsigned>(row % codes.rows_a_word + col % codes.cols_a_word);
  place = codes.awq_order ? kAwqNibble[place] : place;
  const auto bits = static_cast<unsigned>(codes.bits);
  const std::uint32_t mask = (1U << bits) - 1U;
  return stored_at<std::uint32_t>(codes.data, word) >> (place * bits) & mask;
}

/// Columns [begin, end) of `row` share `scale` and `zero`.
void decode_run(const CodeGrid& codes, std::int64_t row, std::int64_t begin, std::int64_t end,
                float scale, std::int32_t zero, float* out) {
  for (std::int64_t col = begin; col < end; ++col) {
    const auto code = static_cast<std::int32_t>(packed_at(codes, row, col));
    out[col] = static_cast<float>(code - zero) * scale;
  }
}

/// The same where words run along the columns (GPTQ, compressed-tensors): each word is read once.
void decode_words(const CodeGrid& codes, std::int64_t row, std::int64_t begin, std::int64_t end,
                  float scale, std::int32_t zero, float* out) {
  const auto bits = static_cast<unsigned>(codes.bits);
  const std::uint32_t mask = (1U << bits) - 1U;
  const std::int64_t in_word = codes.cols_a_word;
  for (std::int64_t col = begin; col < end;) {
    const std::int64_t word = col / in_word;
    const std::int64_t stop = std::min(end, (word + 1) * in_word);
    std::uint32_t rest =
        stored_at<std::uint32_t>(codes.data, row * codes.row_stride + word * codes.col_stride);
    rest >>= static_cast<unsigned>(col - word * in_word) * bits;
    for (; col < stop; ++col) {
      out[col] = static_cast<float>(static_cast<std::int32_t>(rest & mask) - zero) * scale;
      rest >>= bits;
    }
  }
}

void decode_bytes(const ScaledCodes& matrix, std::int64_t row, std::int64_t begin, std::int64_t end,
                  float scale, std::int32_t zero, const std::array<float, 256>& e4m3, float* out) {
  const std::byte* source = matrix.codes.data + row * matrix.cols;
  if (matrix.codes.dtype == DType::kI8) {
    for (std::int64_t col = begin; col < end; ++col) {
      const auto code = static_cast<std::int8_t>(byte_at(source, col));
      out[col] = static_cast<float>(code - zero) * scale;
    }
    return;
  }
  for (std::int64_t col = begin; col < end; ++col) {
    out[col] = e4m3[byte_at(source, col)] * scale;
  }
}

std::int64_t group_at(const ScaledCodes& matrix, std::int64_t col) {
  return matrix.group_of_col != nullptr
             ? static_cast<std::int64_t>(stored_at<std::int32_t>(matrix.group_of_col, col))
             : col / matrix.col_block;
}

/// The first column after `col` that may have another group.
std::int64_t end_of_run(const ScaledCodes& matrix, std::int64_t col, std::int64_t group) {
  if (matrix.group_of_col == nullptr) {
    return std::min(matrix.cols, (group + 1) * matrix.col_block);
  }
  std::int64_t end = col + 1;
  while (end < matrix.cols && group_at(matrix, end) == group) {
    ++end;
  }
  return end;
}

constexpr auto kE2m1Values =
    std::to_array<float>({0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F, -0.0F, -0.5F, -1.0F,
                          -1.5F, -2.0F, -3.0F, -4.0F, -6.0F});

}  // namespace

std::int32_t code_at(const CodeGrid& codes, std::int64_t row, std::int64_t col) {
  if (!codes.in_bytes) {
    return static_cast<std::int32_t>(packed_at(codes, row, col)) + codes.offset;
  }
  const std::int64_t index = (row / codes.rows_a_word) * codes.row_stride + col * codes.col_stride;
  return static_cast<std::int8_t>(byte_at(codes.data, index)) + codes.offset;
}

void dequantise_rows(const ScaledCodes& matrix, std::int64_t begin, std::int64_t end, float* out) {
  const std::array<float, 256> e4m3 =
      matrix.codes.dtype == DType::kF8E4M3 ? e4m3_values() : std::array<float, 256>{};
  float* row_out = out;
  for (std::int64_t row = begin; row < end; ++row, row_out += matrix.cols) {
    for (std::int64_t col = 0; col < matrix.cols;) {
      const std::int64_t group = group_at(matrix, col);
      const std::int64_t stop = end_of_run(matrix, col, group);
      const float scale = scale_at(
          matrix, (row / matrix.row_block) * matrix.row_stride + group * matrix.group_stride);
      const std::int32_t zero =
          matrix.zeros != nullptr ? code_at(*matrix.zeros, row, group) : matrix.zero;
      if (matrix.codes.in_bytes) {
        decode_bytes(matrix, row, col, stop, scale, zero, e4m3, row_out);
      } else if (matrix.codes.cols_a_word > 1) {
        decode_words(matrix.codes, row, col, stop, scale, zero, row_out);
      } else {
        decode_run(matrix.codes, row, col, stop, scale, zero, row_out);
      }
      col = stop;
    }
  }
  round_in_place(matrix.rounded_to, out, (end - begin) * matrix.cols);
}

void dequantise_rows(const MxFp4Experts& experts, std::int64_t begin, std::int64_t end,
                     float* out) {
  // The library scales by torch.ldexp in BF16: exact but beyond its range, where 255, E8M0's NaN,
  // is just the next exponent.
  const std::int64_t blocks = experts.cols / 32;
  for (std::int64_t row = begin; row < end; ++row, out += experts.rows) {
    const std::int64_t expert = row / experts.cols;
    const std::int64_t col = row % experts.cols;
    for (std::int64_t stored = 0; stored < experts.rows; ++stored) {
      const std::int64_t block = (expert * experts.rows + stored) * blocks + col / 32;
      const unsigned pair = byte_at(experts.blocks, block * 16 + col % 32 / 2);
      const unsigned code = col % 2 == 0 ? pair & 15U : pair >> 4U;
      out[stored] =
          std::ldexp(kE2m1Values[code], static_cast<int>(byte_at(experts.scales, block)) - 127);
    }
    round_in_place(DType::kBF16, out, experts.rows);
  }
}

}  // namespace mg
