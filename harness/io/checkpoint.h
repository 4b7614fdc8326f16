// A Hugging Face model folder: config.json and its safetensors, single or sharded by model.safetensors.index.json.
// Not for: what the tensors mean (harness/model/resolve.h) or adapters (adapter.h).
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/safetensors.h"
#include "kernels/core/tensor_view.h"

namespace mg {

struct StoredTensor {
  std::string name;   // as stored
  TensorView view;
  int shard = 0;      // index into Checkpoint::shards()
};

class Checkpoint {
 public:
  /// Opens `folder`.  Throws Error "checkpoint.*", "safetensors.*", "json.*", "file.*": not a folder (a Hub id is
  /// named as such), no safetensors (a pickle or GGUF is named with the command that converts it), an index that
  /// disagrees with its shards (all disagreements in one error), paths that leave the folder.
  static Checkpoint open(const std::filesystem::path& folder);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::filesystem::path& folder() const;
  const nlohmann::json& config() const;              // parsed config.json
  const std::vector<StoredTensor>& tensors() const;  // sorted by name
  /// The tensor with this exact name, or nullptr.
  const StoredTensor* find(std::string_view name) const;
  const std::vector<SafetensorsFile>& shards() const;
  /// Whether model.safetensors.index.json selected the shards.
  bool has_index() const;

  /// Read-ahead / drop of a tensor's pages, see MappedFile.
  void prefetch(const StoredTensor& tensor) const;
  void release(const StoredTensor& tensor) const;
  /// Throws Error "file.shrank" if a shard shrank while mapped.
  void check_intact() const;

 private:
  Checkpoint();
  struct State;
  std::unique_ptr<State> state_;
};

/// Parses a JSON file strictly: UTF-8, no duplicate keys, no trailing text.  Errors name line and column.
nlohmann::json read_json(const std::filesystem::path& path);

}  // namespace mg
