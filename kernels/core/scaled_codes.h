// Integer and FP8 codes with scales on a grid, back to FP32: what GPTQ, AWQ, compressed-tensors and
// FP8 checkpoints hold, and MXFP4's blocks.  value = (code - zero) * scale, rounded once to the
// dtype in which the format's own library computes it; the bits of that library.  Not for: which
// tensors and settings a file means (harness/io/quantised_tensor.h), bitsandbytes (dequantise.h),
// GGUF (ggml_blocks.h). Tested in tests/io/quantised.
//
// Sources, read for behaviour: AutoGPTQ 0.7.1 (nn_modules/qlinear/qlinear_cuda.py), GPTQModel 7.7.0
// (nn_modules/qlinear/__init__.py), AutoAWQ 0.2.9 (utils/packing_utils.py), compressed-tensors
// 0.20.0 and 0.12.2 (quantization/lifecycle/forward.py), transformers 5.23.0
// (integrations/finegrained_fp8.py, integrations/mxfp4.py).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/dtype.h"

namespace mg {

/// Codes of `bits` bits in 32-bit little-endian words, or one a byte.  Element (r, c) lies in word
/// (or byte) (r / rows_a_word) * row_stride + (c / cols_a_word) * col_stride.  In words, one of the
/// two divisors is 32 / bits, which says along which side they are filled, and the other 1.
struct CodeGrid {
  const std::byte* data = nullptr;
  bool in_bytes = false;
  DType dtype = DType::kI32;  // in bytes: I8 or F8_E4M3
  int bits = 4;               // 2, 4 or 8
  std::int64_t rows_a_word = 1;
  std::int64_t cols_a_word = 1;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 0;
  // AutoAWQ's order: of 8 codes in a word, number i lies in nibble 0, 4, 1, 5, 2, 6, 3, 7.
  bool awq_order = false;
  // Added to what is stored: 1 for the zeros of GPTQ's first format, so that a stored 15 is 16.
  // AutoGPTQ and vLLM read it so; AutoGPTQ's older CUDA layer wraps it to 0, GPTQModel adds 1 to
  // the packed word, with a carry.  No writer means a 15 there.
  int offset = 0;
};

/// The code at (row, col), with the offset.
std::int32_t code_at(const CodeGrid& codes, std::int64_t row, std::int64_t col);

/// A weight [rows, cols].  Codes in bytes lie in rows: their strides are not used.
struct ScaledCodes {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  CodeGrid codes;
  // Scale of element (r, c): number (r / row_block) * row_stride + group(c) * group_stride, where
  // group(c) is c / col_block, or group_of_col[c] where that is there.
  const std::byte* scales = nullptr;
  DType scale_dtype = DType::kF16;  // F16, BF16, F32; F8_E8M0: 2^(byte - 127)
  std::int64_t row_block = 1;
  std::int64_t col_block = 0;
  std::int64_t row_stride = 0;
  std::int64_t group_stride = 0;
  const std::byte* group_of_col = nullptr;  // I32 [cols], each a group that is there
  // Zeros, at (row, group) of their grid; without them `zero` counts.
  const CodeGrid* zeros = nullptr;
  std::int32_t zero = 0;
  // Each product is rounded to it; exact in FP32 before that for scales of 16 bits.
  DType rounded_to = DType::kF32;
};

/// Writes rows [begin, end) to out[(end - begin) * cols].  Thread-safe; sources may be unaligned.
void dequantise_rows(const ScaledCodes& matrix, std::int64_t begin, std::int64_t end, float* out);

/// MXFP4 as gpt-oss stores a layer's experts: E2M1 codes, two a byte, the lower half first, 32 in a
/// row to a scale 2^(byte - 127).  Stored [experts, rows, cols], read as [experts, cols, rows]: the
/// library transposes what it decodes.
struct MxFp4Experts {
  std::int64_t experts = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;              // a multiple of 32
  const std::byte* blocks = nullptr;  // U8 [experts, rows, cols / 32, 16]
  const std::byte* scales = nullptr;  // U8 [experts, rows, cols / 32]
};

/// Writes rows [begin, end) of the [experts * cols, rows] that is read.  Thread-safe.
void dequantise_rows(const MxFp4Experts& experts, std::int64_t begin, std::int64_t end, float* out);

}  // namespace mg
