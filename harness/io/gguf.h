// Reader of GGUF files, versions 2 and 3, little-endian: metadata, tensor table, data in place.
// Not for: what names and metadata mean for a model.  Tested in tests/io/gguf_test.cc and
// tests/fuzz/gguf_fuzz.cc.
//
// Format: ggml/docs/gguf.md; what llama.cpp refuses (ggml/src/gguf.cpp) is refused here: tensors
// that do not follow one another, repeated keys and names, more than four dimensions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/mapped_file.h"
#include "kernels/core/ggml_blocks.h"
#include "kernels/core/shape.h"

namespace mg {

struct GgufTensor {
  std::string name;
  const GgmlFormat* format = nullptr;
  Shape shape;              // outermost dimension first, as Hugging Face writes it: GGUF's reversed
  std::uint64_t begin = 0;  // of the file
  std::uint64_t bytes = 0;

  /// Rows of the last dimension, and the length of one; a scalar is one row of one.
  std::int64_t rows() const;
  std::int64_t row_length() const;
};

struct GgufHeader {
  std::uint32_t version = 0;
  std::uint64_t alignment = 32;     // general.alignment
  std::vector<GgufTensor> tensors;  // in the file's order
  std::shared_ptr<const nlohmann::ordered_json>
      metadata;  // by key; numbers and strings keep their values
};

/// Parses and validates; `file` names it in errors, `bytes` is the whole file.  Throws Error
/// "gguf.*" naming the key or tensor.
GgufHeader parse_gguf(std::span<const std::byte> bytes, std::string_view file);

class GgufFile {
 public:
  static GgufFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  const GgufHeader& header() const { return header_; }
  const nlohmann::ordered_json& metadata() const { return *header_.metadata; }
  /// nullptr where there is none of this name.
  const GgufTensor* find(std::string_view name) const;

  /// The tensor's bytes as stored.
  const std::byte* data(const GgufTensor& tensor) const {
    return file_->bytes().data() + tensor.begin;
  }
  const MappedFile& file() const { return *file_; }

  /// Rows [begin, end) as FP32, (end - begin) * row_length() numbers, as the gguf Python package
  /// dequantises them.  Thread-safe.  Throws Error "gguf.type" for a format that is not read.
  void rows(const GgufTensor& tensor, std::int64_t begin, std::int64_t end, float* out) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  GgufHeader header_;
};

}  // namespace mg
