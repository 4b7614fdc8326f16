// ggml's block formats back to FP32, whole blocks at a time, with the bits of the gguf Python
// package (gguf.quants.dequantize: FP32 operations in its order, each rounded).  Not for: finding
// tensors in a file (harness/io/gguf.h).  Tested in tests/io/gguf_test.cc against that package.
//
// Layouts: ggml-common.h and ggml-quants.c of llama.cpp, gguf 0.19 (quants.py), read for the
// format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mg {

struct GgmlFormat {
  std::uint32_t id = 0;    // ggml_type, as files store it
  std::string_view name;   // "Q4_K"
  std::int64_t block = 1;  // elements of a block; a row is whole blocks
  std::size_t bytes = 0;   // bytes of a block
  // Writes `blocks` blocks from `source` (unaligned allowed) to out[blocks * block]; null: a type
  // whose size is known here and whose numbers are not read.
  void (*decode)(const std::byte* source, std::int64_t blocks, float* out) = nullptr;
};

/// The format with this id; nullptr where none is known.
const GgmlFormat* find_ggml_format(std::uint32_t id);

/// Names of the formats that can be decoded, "F32, F16, ...".
std::string_view ggml_format_names();

}  // namespace mg
