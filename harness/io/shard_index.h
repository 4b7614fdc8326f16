// model.safetensors.index.json: which tensor lies in which shard.
// A loader takes its "weight_map" at its word, so it is checked against the shards' own headers,
// both ways.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/safetensors.h"

namespace mg {

struct ShardIndex {
  std::map<std::string, std::string> weight_map;  // tensor -> file
  std::optional<std::uint64_t> total_size;        // metadata.total_size, where it is an integer

  /// The files named, each once, sorted.
  std::vector<std::string> files() const;
};

/// Reads an index.  Throws Error "json.*", "index.structure", or "index.path" listing every file
/// name that is absolute, leaves the folder or is no safetensors file.
ShardIndex parse_shard_index(const nlohmann::json& json, std::string_view file);
ShardIndex read_shard_index(const std::filesystem::path& path);

struct IndexProblem {
  enum class Kind {
    kMissingShard,  // the index names a file that is not there
    kNotInShard,    // the index says `file`, whose header has no such tensor
    kNotInIndex,    // in the header of `file`, but not in the index
    kTwice,         // in the headers of two shards
  };
  Kind kind = Kind::kMissingShard;
  std::string tensor;  // empty for kMissingShard
  std::string file;
  std::string other;  // kNotInShard: where it is after all, or empty; kTwice: the second file
};

/// "model.norm.weight: the index says a.safetensors, it is in b.safetensors"
std::string to_string(const IndexProblem& problem);

struct NamedHeader {
  std::string_view file;
  const SafetensorsHeader* header = nullptr;  // nullptr: the file is not there
};

/// Every disagreement between an index and the shards it names.
std::vector<IndexProblem> compare_index(const ShardIndex& index,
                                        std::span<const NamedHeader> shards);

}  // namespace mg
