#include "kernels/core/ggml_blocks.h"

#include <array>
#include <cstring>

#include "kernels/core/convert.h"
#include "kernels/core/half.h"

namespace mg {
namespace {

constexpr std::int64_t kSuper = 256;  // elements of a block of the K and IQ4_XS formats

std::uint32_t byte_at(const std::byte* source, std::size_t index) {
  return std::to_integer<std::uint32_t>(source[index]);
}

std::int32_t signed_at(const std::byte* source, std::size_t index) {
  return static_cast<std::int8_t>(byte_at(source, index));
}

std::uint32_t word_at(const std::byte* source) {  // little-endian, as all of GGUF here
  return byte_at(source, 0) | byte_at(source, 1) << 8U;
}

float half_at(const std::byte* source) {
  return half_to_float(static_cast<std::uint16_t>(word_at(source)));
}

template <DType kType>
void decode_plain(const std::byte* source, std::int64_t blocks, float* out) {
  widen_to_float(kType, source, blocks, out);
}

// Calls one(block, out) for each block.
template <std::int64_t kElements, std::size_t kBytes, auto kOne>
void each_block(const std::byte* source, std::int64_t blocks, float* out) {
  for (std::int64_t i = 0; i < blocks; ++i) {
    kOne(source, out);
    source += kBytes;
    out += kElements;
  }
}

// Blocks of 32.  Nibbles: the lower halves of 16 bytes are elements 0..15, the upper ones 16..31.

void q4_0(const std::byte* block, float* out) {
  const float d = half_at(block);
  for (std::size_t i = 0; i < 16; ++i) {
    const std::uint32_t codes = byte_at(block, 2 + i);
    out[i] = d * static_cast<float>(static_cast<std::int32_t>(codes & 15U) - 8);
    out[i + 16] = d * static_cast<float>(static_cast<std::int32_t>(codes >> 4U) - 8);
  }
}

void q4_1(const std::byte* block, float* out) {
  const float d = half_at(block);
  const float m = half_at(block + 2);
  for (std::size_t i = 0; i < 16; ++i) {
    const std::uint32_t codes = byte_at(block, 4 + i);
    out[i] = d * static_cast<float>(codes & 15U) + m;
    out[i + 16] = d * static_cast<float>(codes >> 4U) + m;
  }
}

// The fifth bit of element i is bit i of four bytes.
std::uint32_t five_bits(const std::byte* high, const std::byte* low, std::size_t element) {
  const std::uint32_t nibbles = byte_at(low, element % 16);
  const std::uint32_t four = element < 16 ? nibbles & 15U : nibbles >> 4U;
  return four | (byte_at(high, element / 8) >> (element % 8) & 1U) << 4U;
}

void q5_0(const std::byte* block, float* out) {
  const float d = half_at(block);
  for (std::size_t i = 0; i < 32; ++i) {
    const auto code = static_cast<std::int32_t>(five_bits(block + 2, block + 6, i));
    out[i] = d * static_cast<float>(code - 16);
  }
}

void q5_1(const std::byte* block, float* out) {
  const float d = half_at(block);
  const float m = half_at(block + 2);
  for (std::size_t i = 0; i < 32; ++i) {
    out[i] = d * static_cast<float>(five_bits(block + 4, block + 8, i)) + m;
  }
}

void q8_0(const std::byte* block, float* out) {
  const float d = half_at(block);
  for (std::size_t i = 0; i < 32; ++i) {
    out[i] = static_cast<float>(signed_at(block, 2 + i)) * d;
  }
}

// What the 16 codes of the IQ4 formats stand for.
constexpr auto kIq4Levels = std::to_array<float>(
    {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113});

void iq4_nl(const std::byte* block, float* out) {
  const float d = half_at(block);
  for (std::size_t i = 0; i < 16; ++i) {
    const std::uint32_t codes = byte_at(block, 2 + i);
    out[i] = d * kIq4Levels[codes & 15U];
    out[i + 16] = d * kIq4Levels[codes >> 4U];
  }
}

// scales_h U16: two upper bits of each of 8 scales; scales_l [4]: their lower nibbles.
void iq4_xs(const std::byte* block, float* out) {
  const float d = half_at(block);
  const std::uint32_t high = word_at(block + 2);
  for (std::size_t part = 0; part < 8; ++part) {
    const std::uint32_t low = byte_at(block, 4 + part / 2) >> (4U * (part % 2)) & 15U;
    const std::uint32_t scale = low | (high >> (2U * part) & 3U) << 4U;
    const float step = d * static_cast<float>(static_cast<std::int32_t>(scale) - 32);
    for (std::size_t i = 0; i < 16; ++i) {
      const std::uint32_t codes = byte_at(block, 8 + part * 16 + i);
      out[part * 32 + i] = step * kIq4Levels[codes & 15U];
      out[part * 32 + i + 16] = step * kIq4Levels[codes >> 4U];
    }
  }
}

// Blocks of 256.

// scales [16], codes [64], d, dmin: 16 parts of 16 elements; each scale byte holds a part's step
// (low nibble) and offset (high).  Codes: 2 bits; byte j of each 32 holds elements j, j + 32, ...
void q2_k(const std::byte* block, float* out) {
  const float d = half_at(block + 80);
  const float dmin = half_at(block + 82);
  for (std::size_t part = 0; part < 16; ++part) {
    const std::uint32_t scale = byte_at(block, part);
    const float step = d * static_cast<float>(scale & 15U);
    const float offset = dmin * static_cast<float>(scale >> 4U);
    for (std::size_t i = part * 16; i < part * 16 + 16; ++i) {
      const std::uint32_t code =
          byte_at(block, 16 + i / 128 * 32 + i % 32) >> (2 * (i % 128 / 32)) & 3U;
      out[i] = step * static_cast<float>(code) - offset;
    }
  }
}

// hmask [32], codes [64], scales [12], d.  A clear bit of hmask takes 4 from the 2-bit code; scales
// have 6 bits: 16 low nibbles in 8 bytes, the upper bits in the last four.
void q3_k(const std::byte* block, float* out) {
  const std::byte* scales = block + 96;
  const float d = half_at(block + 108);
  for (std::size_t part = 0; part < 16; ++part) {
    const std::uint32_t low = byte_at(scales, part % 8) >> (4U * (part / 8)) & 15U;
    const std::uint32_t high = byte_at(scales, 8 + part % 4) >> (2U * (part / 4)) & 3U;
    const float step = d * static_cast<float>(static_cast<std::int32_t>(low | high << 4U) - 32);
    for (std::size_t i = part * 16; i < part * 16 + 16; ++i) {
      const std::uint32_t code =
          byte_at(block, 32 + i / 128 * 32 + i % 32) >> (2 * (i % 128 / 32)) & 3U;
      const std::uint32_t bit = byte_at(block, i % 32) >> (i / 32) & 1U;
      out[i] = step * static_cast<float>(static_cast<std::int32_t>(code) - (bit == 0U ? 4 : 0));
    }
  }
}

struct SixBits {
  std::uint32_t scale = 0;
  std::uint32_t offset = 0;
};

// Scale and offset of part 0..7 from the 12 bytes that Q4_K and Q5_K share: the first four of each
// in bytes 0..3 and 4..7; the others' low nibbles in bytes 8..11, their upper bits in the bytes'
// top two.
SixBits six_bits(const std::byte* scales, std::size_t part) {
  if (part < 4) {
    return {byte_at(scales, part) & 63U, byte_at(scales, part + 4) & 63U};
  }
  const std::uint32_t low = byte_at(scales, part + 4);
  return {(low & 15U) | (byte_at(scales, part - 4) >> 2U & 48U),
          (low >> 4U) | (byte_at(scales, part) >> 2U & 48U)};
}

// d, dmin, scales [12], for Q5_K the fifth bits [32], codes [128]: 8 parts of 32; two parts share
// 32 bytes, one in the low nibbles, one in the high.
template <bool kFive>
void q45_k(const std::byte* block, float* out) {
  const float d = half_at(block);
  const float dmin = half_at(block + 2);
  const std::byte* fifth = block + 16;
  const std::byte* codes = fifth + (kFive ? 32 : 0);
  for (std::size_t part = 0; part < 8; ++part) {
    const SixBits bits = six_bits(block + 4, part);
    const float step = d * static_cast<float>(bits.scale);
    const float offset = dmin * static_cast<float>(bits.offset);
    for (std::size_t i = 0; i < 32; ++i) {
      std::uint32_t code = byte_at(codes, part / 2 * 32 + i) >> (4U * (part % 2)) & 15U;
      if constexpr (kFive) {
        code |= (byte_at(fifth, i) >> part & 1U) << 4U;
      }
      out[part * 32 + i] = step * static_cast<float>(code) - offset;
    }
  }
}

// ql [128], qh [64], scales I8 [16], d.  Of each half of 128 elements, byte j of 64 holds the low
// nibbles of j and j + 64, byte j of 32 the upper two bits of j, j + 32, j + 64, j + 96.
void q6_k(const std::byte* block, float* out) {
  const float d = half_at(block + 208);
  for (std::size_t i = 0; i < 256; ++i) {
    const std::size_t half = i / 128;
    const std::size_t j = i % 128;
    const std::uint32_t low = byte_at(block, half * 64 + j % 64) >> (4U * (j / 64)) & 15U;
    const std::uint32_t high = byte_at(block, 128 + half * 32 + j % 32) >> (2U * (j / 32)) & 3U;
    const float step = d * static_cast<float>(signed_at(block, 192 + i / 16));
    out[i] = step * static_cast<float>(static_cast<std::int32_t>(low | high << 4U) - 32);
  }
}

// Ids and sizes: enum ggml_type and gguf.constants.GGML_QUANT_SIZES.
constexpr auto kFormats = std::to_array<GgmlFormat>({
    {0, "F32", 1, 4, decode_plain<DType::kF32>},
    {1, "F16", 1, 2, decode_plain<DType::kF16>},
    {2, "Q4_0", 32, 18, each_block<32, 18, q4_0>},
    {3, "Q4_1", 32, 20, each_block<32, 20, q4_1>},
    {6, "Q5_0", 32, 22, each_block<32, 22, q5_0>},
    {7, "Q5_1", 32, 24, each_block<32, 24, q5_1>},
    {8, "Q8_0", 32, 34, each_block<32, 34, q8_0>},
    {10, "Q2_K", kSuper, 84, each_block<kSuper, 84, q2_k>},
    {11, "Q3_K", kSuper, 110, each_block<kSuper, 110, q3_k>},
    {12, "Q4_K", kSuper, 144, each_block<kSuper, 144, q45_k<false>>},
    {13, "Q5_K", kSuper, 176, each_block<kSuper, 176, q45_k<true>>},
    {14, "Q6_K", kSuper, 210, each_block<kSuper, 210, q6_k>},
    {16, "IQ2_XXS", kSuper, 66, nullptr},
    {17, "IQ2_XS", kSuper, 74, nullptr},
    {18, "IQ3_XXS", kSuper, 98, nullptr},
    {19, "IQ1_S", kSuper, 50, nullptr},
    {20, "IQ4_NL", 32, 18, each_block<32, 18, iq4_nl>},
    {21, "IQ3_S", kSuper, 110, nullptr},
    {22, "IQ2_S", kSuper, 82, nullptr},
    {23, "IQ4_XS", kSuper, 136, each_block<kSuper, 136, iq4_xs>},
    {24, "I8", 1, 1, decode_plain<DType::kI8>},
    {25, "I16", 1, 2, decode_plain<DType::kI16>},
    {26, "I32", 1, 4, decode_plain<DType::kI32>},
    {27, "I64", 1, 8, decode_plain<DType::kI64>},
    {28, "F64", 1, 8, decode_plain<DType::kF64>},
    {29, "IQ1_M", kSuper, 56, nullptr},
    {30, "BF16", 1, 2, decode_plain<DType::kBF16>},
    {34, "TQ1_0", kSuper, 54, nullptr},
    {35, "TQ2_0", kSuper, 66, nullptr},
    {39, "MXFP4", 32, 17, nullptr},
});

}  // namespace

const GgmlFormat* find_ggml_format(std::uint32_t id) {
  for (const GgmlFormat& format : kFormats) {
    if (format.id == id) {
      return &format;
    }
  }
  return nullptr;
}

std::string_view ggml_format_names() {
  return "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, "
         "IQ4_XS";
}

}  // namespace mg
