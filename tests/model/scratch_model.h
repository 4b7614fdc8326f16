// Small model folders written by tests: tensors of zeros with chosen names and shapes, and a
// config.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/core/shape.h"

namespace mg {

struct ScratchTensor {
  std::string dtype = "F32";
  Shape shape;
  std::vector<float> values = {};  // F32 only; empty: zeros
};

using ScratchTensors = std::map<std::string, ScratchTensor>;

/// Writes a safetensors file.
void write_safetensors(const std::filesystem::path& path, const ScratchTensors& tensors);

/// The header of a safetensors file as tensors of zeros.
ScratchTensors read_header(const std::filesystem::path& path);

/// A folder that is removed with the object.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write_model(const std::string& name, const nlohmann::json& config,
                                    const ScratchTensors& tensors) const;
  std::filesystem::path write_adapter(const std::string& name, const nlohmann::json& config,
                                      const ScratchTensors& tensors) const;

 private:
  std::filesystem::path path_;
};

/// Parses a JSON file of the test data.
nlohmann::json load_json(const std::filesystem::path& path);

}  // namespace mg
