// Quantised weights back to FP32, a range of rows at a time: the arithmetic of each stored form, as
// the library that wrote it computes it, bit for bit.  Vectorised by run-time dispatch; every path
// gives the bits of the portable one.  Not for: finding codes and companions in a file
// (harness/io/quantised_tensor.h).  Tested in tests/core/dequantise_test.cc.
//
// Sources: bitsandbytes 0.50 (functional.py: QuantState, dequantize_4bit, dequantize_blockwise;
// csrc/cpu_ops.cpp; nn/modules.py: Linear8bitLt), read for behaviour, and tests/golden/qwen2-nf4,
// -fp4, -int8, which it wrote.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mg {

/// What the 16 codes of a 4-bit form stand for, in units of their block's largest magnitude
/// (bitsandbytes.functional.get_4bit_type).
extern const std::array<float, 16> kNf4Levels;
extern const std::array<float, 16> kFp4Levels;

/// A matrix of 4-bit codes, two a byte, the higher half first, running over all rows; every
/// `block` elements share a scale: value = level[code] * scale, one FP32 product.
struct FourBitMatrix {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* codes = nullptr;  // (rows * cols + 1) / 2
  const float* levels = nullptr;     // [16]
  std::int64_t block = 0;            // a power of two, at least 32
  // Where `cols` is no multiple of `block`, blocks run on from one row into the next.  The AVX-512
  // code of bitsandbytes' CPU backend takes block r * (cols / block) + c / block for element (r, c)
  // all the same; its CUDA and other code does not.  True: as the former.
  bool blocks_by_row = false;
  const std::byte* absmax = nullptr;  // scales, F32 [blocks]; where nested, codes U8 [blocks]
  // Double quantisation: scale = nested_levels[code] * nested_absmax[i / nested_block] + offset,
  // each operation rounded to FP32.
  const std::byte* nested_levels = nullptr;  // F32 [256]; null: not nested
  const std::byte* nested_absmax = nullptr;  // F32
  std::int64_t nested_block = 0;
  float nested_offset = 0;

  std::int64_t blocks() const { return (rows * cols + block - 1) / block; }
};

/// LLM.int8(): value = code * scale[row] / 127, rounded to FP32 after each of the two.
struct EightBitMatrix {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* codes = nullptr;  // I8 [rows, cols]
  const std::byte* scale = nullptr;  // F32 [rows]
  // Columns in groups of 32, a group's rows one after the other (cuBLASLt's COL32); `cols` is a
  // multiple of 32 then.
  bool col32 = false;
};

/// Instruction sets of this file; kBest is what the machine has.
enum class DequantiseIsa : std::uint8_t { kBest, kPortable, kAvx2, kAvx512 };
bool has_isa(DequantiseIsa isa);

/// Scale of block `index` of a 4-bit matrix.
float block_scale(const FourBitMatrix& matrix, std::int64_t index);

/// Writes rows [begin, end) to out[(end - begin) * cols].  Thread-safe; sources may be unaligned.
void dequantise_rows(const FourBitMatrix& matrix, std::int64_t begin, std::int64_t end, float* out,
                     DequantiseIsa isa = DequantiseIsa::kBest);
void dequantise_rows(const EightBitMatrix& matrix, std::int64_t begin, std::int64_t end, float* out,
                     DequantiseIsa isa = DequantiseIsa::kBest);

}  // namespace mg
