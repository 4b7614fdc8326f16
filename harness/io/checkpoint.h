// A Hugging Face model folder: config.json and its safetensors, single or sharded by
// model.safetensors.index.json. Not for: what the tensors mean (harness/model/resolve.h) or
// adapters (adapter.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/decoded_memory.h"
#include "harness/io/json_file.h"
#include "harness/io/quantised_tensor.h"
#include "harness/io/safetensors.h"
#include "harness/io/stored_tensor.h"

namespace mg {

class GgufFile;
class ThreadPool;

struct OpenOptions {
  // False: a folder without config.json opens as well, and config() is null.
  bool require_config = true;
  // True: codes and companions of formats that are known (quantised_tensor.h) are one FP32 tensor
  // each.
  bool decode = false;
  BlockOrder block_order = BlockOrder::kByRow;
};

class Checkpoint {
 public:
  /// Opens `folder`.  Throws Error "folder.*", "checkpoint.*", "index.*", "safetensors.*",
  /// "json.*", "file.*": not a folder (a Hub id is named as such), no safetensors (a pickle or GGUF
  /// is named with the command that converts it), an index that disagrees with its shards (all
  /// disagreements in one error), paths that leave the folder.  Lint looks at folders that do not
  /// open through scan_folder (folder.h).
  ///
  /// With `decode`, a GGUF file (named *.gguf) opens as the checkpoint it was converted from: its
  /// names, shapes and order of rows, its config as llama.cpp computes;
  /// Error "gguf.*".
  static Checkpoint open(const std::filesystem::path& folder, const OpenOptions& options = {});

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::filesystem::path& folder() const;
  const nlohmann::json& config() const;              // parsed config.json
  const std::vector<StoredTensor>& tensors() const;  // sorted by name
  /// The tensor with this exact name, or nullptr.
  const StoredTensor* find(std::string_view name) const;
  const std::vector<SafetensorsFile>& shards() const;
  /// The GGUF file that this is instead of a folder; nullptr for a folder.
  const GgufFile* gguf() const;
  /// Whether model.safetensors.index.json selected the shards.
  bool has_index() const;
  /// The index as parsed; null without one.
  const nlohmann::json& index() const;
  /// Safetensors files in the folder that hold none of the tensors above; some servers load them
  /// all the same.
  const std::vector<std::string>& stray_files() const;

  /// With OpenOptions::decode: the weights stored as codes, sorted by name.
  const std::vector<std::unique_ptr<QuantisedTensor>>& quantised() const;
  /// The FP32 copy of a weight stored as codes is at `tensor.view` while the result lives, made by
  /// `pool` (or by the calling thread alone) unless somebody holds it already.  Nothing for a plain
  /// tensor, whose bytes are there anyway.  Thread-safe; the checkpoint must outlive it.
  DecodedHold decode(const StoredTensor& tensor, ThreadPool* pool = nullptr) const;
  /// How many such copies were made so far.
  std::int64_t copies_decoded() const;

  /// Read-ahead / drop of a tensor's pages (of its codes), see MappedFile.
  void prefetch(const StoredTensor& tensor) const;
  void release(const StoredTensor& tensor) const;
  /// Throws Error "file.shrank" if a shard shrank while mapped.
  void check_intact() const;

 private:
  Checkpoint();
  static Checkpoint open_gguf(const std::filesystem::path& path);
  void take_in_quantised(std::vector<std::unique_ptr<QuantisedTensor>> codes);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mg
