// What the rules look at: the folders' configs, indexes and tensor headers, read once.  No tensor's
// bytes are touched.  Not for: deciding what is wrong (rules/).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"
#include "harness/io/folder.h"
#include "harness/io/gguf.h"
#include "harness/io/shard_index.h"
#include "harness/lint/server_profile.h"
#include "harness/lint/tokenizer_facts.h"
#include "harness/model/attach.h"
#include "harness/model/resolve.h"
#include "kernels/core/dtype.h"
#include "kernels/core/shape.h"

namespace mg::lint {

struct HeaderTensor {
  std::string name;
  std::string canonical;  // names.h
  DType dtype = DType::kF32;
  Shape shape;
  std::uint64_t bytes = 0;
  std::string file;
  bool companion = false;  // belongs to a quantised weight, by its name
};

/// One object of config.json: the root, or a nested part.
struct ConfigLevel {
  std::vector<std::string> path;  // empty for the root
  const nlohmann::json* object = nullptr;

  /// "text_config.dtype"
  std::string key(std::string_view name) const;
  /// The member, or nullptr where it is absent.
  const nlohmann::json* find(std::string_view name) const;
  std::vector<std::string> path_to(std::string_view name) const;
};

/// A checkpoint's folder, base or merged, as far as it can be read.
struct ModelFolder {
  std::string role;  // "base", "merged"
  FolderScan scan;
  std::optional<ShardIndex> index;
  std::optional<ErrorParts> index_problem;  // an index that cannot be used
  std::vector<std::string> weight_files;    // what a loader would read, in the index's order
  std::vector<HeaderTensor> tensors;        // of these files, sorted by name
  std::multimap<std::string, std::size_t> by_canonical;

  TokenizerFacts tokenizer;
  const ArchSpec* arch = nullptr;          // nullptr: not in the architecture table
  std::optional<ModelConfig> config;       // read by `arch`
  std::optional<ErrorParts> config_error;  // why it could not be read
  // Opened strictly, which is possible only where files and index agree.
  std::unique_ptr<Checkpoint> checkpoint;
  std::optional<ResolvedModel> resolved;

  const nlohmann::json* json(std::string_view name) const { return scan.json(name); }
  bool has_file(std::string_view name) const;
  /// Root, text part, vision and audio parts: every object of config.json, at any depth.
  std::vector<ConfigLevel> levels() const;
  /// The root and the text part, where the language model's keys stand.
  std::vector<ConfigLevel> text_levels() const;
  /// The key's value at the first of text_levels() that has it, innermost first; nullptr if none.
  const nlohmann::json* effective(std::string_view key) const;
  std::string model_type() const;
  /// The config where its reader knows how the model computes; nullptr where it read sizes alone,
  /// or nothing.
  const ModelConfig* arithmetic() const;
  const HeaderTensor* find(std::string_view canonical) const;
  /// Every weight is F16, BF16 or F32 and none has companions.
  bool plain() const;
  bool has_companions() const;
  /// The dtype that most bytes of plain tensors have.
  std::optional<DType> majority_dtype() const;
  std::uint64_t tensor_bytes() const;
};

struct AdapterFolder {
  FolderScan scan;
  std::vector<HeaderTensor> tensors;
  TokenizerFacts tokenizer;           // of the files that training saved beside the adapter, if any
  std::unique_ptr<Adapter> adapter;   // nothing where it cannot be read
  std::optional<ErrorParts> problem;  // why not
  std::optional<AttachedAdapter> attached;

  /// adapter_config.json; nullptr where it cannot be read.
  const nlohmann::json* config() const { return scan.json("adapter_config.json"); }
  /// A flag, false where it is absent.
  bool flag(std::string_view key) const;
};

/// A GGUF file that is to be served in merged's place.
struct ServedGguf {
  std::string name;  // of the file, for messages
  GgufFile file;
  std::optional<ModelConfig> config;       // as llama.cpp computes
  std::optional<ErrorParts> config_error;  // why it could not be read
};

struct Context {
  ModelFolder merged;
  std::optional<ModelFolder> base;
  std::optional<AdapterFolder> adapter;
  std::vector<ServedGguf> ggufs;
  const ServerProfile* server = nullptr;
  std::vector<std::string> accepted_keys;

  bool base_has(std::string_view file) const { return base && base->has_file(file); }
};

/// Throws Error "folder.*" when it is no folder.  Everything else that is wrong is kept for the
/// rules.
ModelFolder open_model_folder(const std::filesystem::path& folder, std::string role);

/// Throws Error "folder.*".  `base`: attaches the adapter, where both could be read.
AdapterFolder open_adapter_folder(const std::filesystem::path& folder, const ModelFolder* base);

/// Throws Error "gguf.*", "file.*" where it cannot be read at all.
ServedGguf open_served_gguf(const std::filesystem::path& path);

/// The tensors in a shard's header.
void add_tensors(const ScannedShard& shard, std::vector<HeaderTensor>& tensors);

}  // namespace mg::lint
