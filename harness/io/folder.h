// A model or adapter folder as files: what is there, what kind of file it is, and what of it can be
// read. scan_folder() never stops at a bad file, so that lint can list everything that is wrong
// with a broken folder; checkpoint.h and adapter.h are the strict readers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/safetensors.h"
#include "kernels/core/error.h"

namespace mg {

enum class FileKind {
  kSafetensors,     // *.safetensors of a model
  kAdapterWeights,  // adapter_model.safetensors
  kConsolidated,    // consolidated*.safetensors: Mistral's own tensor names
  kShardIndex,      // *.safetensors.index.json
  kJson,
  kPickle,  // *.bin, *.pt, *.pth, *.ckpt with weights
  kGguf,
  kOtherWeights,  // Flax, TensorFlow, ONNX
  kOther,
};

/// Where transformers keeps the weights: one file, or shards and their index.
inline constexpr std::string_view kWeightsFile = "model.safetensors";
inline constexpr std::string_view kWeightsIndex = "model.safetensors.index.json";

struct FolderEntry {
  std::string name;
  FileKind kind = FileKind::kOther;
  bool is_folder = false;
  bool is_link = false;
  bool dangling = false;    // a link whose target does not exist
  std::uint64_t bytes = 0;  // of the target, where it is a link
};

bool has_entry(const std::vector<FolderEntry>& entries, std::string_view name);

/// The kind of file that a name stands for.
FileKind file_kind(std::string_view name);

/// Throws Error "folder.*" unless `path` is a readable folder: a Hub id, a file, the root of a Hub
/// cache entry are named as such.  `what` says what was expected, for messages: "a model folder".
void require_folder(const std::filesystem::path& path, std::string_view what);

/// What lies directly in the folder, sorted by name; subfolders are listed, not entered.  Throws as
/// require_folder.
std::vector<FolderEntry> list_folder(const std::filesystem::path& path, std::string_view what);

struct ScannedShard {
  std::string name;
  std::optional<SafetensorsFile> file;  // nothing where it cannot be read
  std::optional<ErrorParts> problem;
};

struct ScannedJson {
  std::string name;
  std::optional<nlohmann::json> value;
  std::optional<ErrorParts> problem;
};

struct FolderScan {
  std::filesystem::path path;
  std::vector<FolderEntry> entries;
  std::vector<ScannedShard> shards;  // every *.safetensors, adapter and consolidated ones included
  std::vector<ScannedJson>
      jsons;  // every *.json but tokenizer.json and vocab.json, which are large and not configs

  const FolderEntry* entry(std::string_view name) const;
  const ScannedShard* shard(std::string_view name) const;
  /// The parsed file, or nullptr when it is absent or cannot be read (see `jsons`).
  const nlohmann::json* json(std::string_view name) const;
};

/// Reads headers and configs of everything in the folder.  Throws only as require_folder.
FolderScan scan_folder(const std::filesystem::path& path);

}  // namespace mg
