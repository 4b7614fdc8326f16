// Writes GGUF files for tests: metadata and tensors as they are given, or a Llama checkpoint as
// llama.cpp's converter would, to plant faults in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "kernels/core/shape.h"

namespace mg {

class GgufWriter {
 public:
  // Each replaces the key's value.
  void text(const std::string& key, const std::string& value);
  void number(const std::string& key, std::uint32_t value);
  void real(const std::string& key, float value);
  void flag(const std::string& key, bool value);
  void texts(const std::string& key, const std::vector<std::string>& values);
  void numbers(const std::string& key, const std::vector<std::int32_t>& values);
  void erase(const std::string& key);

  /// `type` is ggml's number: 0 F32, 1 F16, 8 Q8_0, 30 BF16.  `shape`: outermost first.
  void tensor(const std::string& name, const Shape& shape, std::uint32_t type, std::string bytes);
  /// The tensor's bytes, to be changed.
  std::string& bytes_of(const std::string& name);

  void write(const std::filesystem::path& path) const;

 private:
  struct Tensor {
    std::string name;
    Shape shape;
    std::uint32_t type = 0;
    std::string bytes;
  };
  void set(const std::string& key, std::uint32_t type, const std::string& payload);

  std::vector<std::pair<std::string, std::string>> entries_;  // value: type and payload
  std::vector<Tensor> tensors_;
};

enum class GgufStorage : std::uint8_t { kAsStored, kF32, kQ8_0 };

/// A folder of LlamaForCausalLM with tied embeddings, its tokenizer (if it has one) included.
/// Matrices as `storage` says, norms in FP32, rows of q and k interleaved.
GgufWriter gguf_of_llama(const std::filesystem::path& folder,
                         GgufStorage storage = GgufStorage::kAsStored);

}  // namespace mg
