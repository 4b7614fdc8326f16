// Writes a safetensors file as a stream: the header first, then each tensor's bytes in the header's
// order, through a temporary name, so that a reader sees the whole file or none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/core/shape.h"

namespace mg {

struct TensorPlan {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

class SafetensorsWriter {
 public:
  /// Creates PATH.partial and writes the header.  Data begins at a multiple of 8 bytes, as the
  /// reference's writer aligns it.  Throws Error "file.write" (no space, no permission).
  SafetensorsWriter(std::filesystem::path path, std::span<const TensorPlan> tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});
  /// Removes the temporary file unless finish() was called.
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  /// Appends bytes of the current tensor; a tensor may come in several pieces.
  void write(std::span<const std::byte> bytes);

  /// Checks that every byte announced was written, flushes and renames.
  void finish();

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path path_;
  std::filesystem::path partial_;
  std::ofstream out_;
  std::uint64_t announced_ = 0;
  std::uint64_t written_ = 0;
  bool finished_ = false;
};

}  // namespace mg
