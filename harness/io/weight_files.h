// Which files of a model folder hold its weights, or an error that says what is there instead.
// Internal to harness/io: Checkpoint::open calls it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "harness/io/folder.h"

namespace mg {

struct WeightFiles {
  std::string index;  // name of the index that selects the shards, empty for a single file
  std::vector<std::string> files;  // without an index: the single file
};

/// Throws Error "checkpoint.*" where a loader would find nothing or would have to guess.
WeightFiles find_weight_files(const std::filesystem::path& folder,
                              const std::vector<FolderEntry>& entries);

}  // namespace mg
