// Reader of the safetensors container (https://github.com/huggingface/safetensors, format section
// of its README). Accepts exactly what the reference implementation accepts;
// tests/io/safetensors_differential_test.cc holds recorded verdicts of the reference on mutated
// files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/mapped_file.h"
#include "kernels/core/tensor_view.h"

namespace mg {

struct SafetensorsRecord {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint64_t begin = 0;  // relative to the data section
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsRecord> records;       // in file order of their data
  std::map<std::string, std::string> metadata;  // "__metadata__"
  bool has_metadata = false;
  std::uint64_t data_begin = 0;  // 8 + header length
};

/// Parses and validates a header; `file` names it in errors, `bytes` is the whole file.
/// Throws Error "safetensors.*" naming the tensor.
SafetensorsHeader parse_safetensors(std::span<const std::byte> bytes, std::string_view file);

class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  const SafetensorsHeader& header() const { return header_; }
  TensorView view(const SafetensorsRecord& record) const;
  const MappedFile& file() const { return *file_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  SafetensorsHeader header_;
};

}  // namespace mg
