// The files beside the weights of a merge: config, side files, index, provenance.  Private to
// merge.cc.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "harness/audit/merge_plan.h"

namespace mg {

/// Writes config.json as the base's without quantization_config, with the stored dtype and an
/// honest tie flag; returns the changes, one sentence each.
std::vector<std::string> write_config(const Checkpoint& base, const MergePlan& plan,
                                      const MergeOptions& options,
                                      const std::filesystem::path& folder);

struct SideFile {
  std::string name;    // relative to the folder
  std::string origin;  // "base" or "adapter"
};

/// Copies tokenizer, processor, template and code files: the adapter's where it has one, since it
/// was trained with it, else the base's.
std::vector<SideFile> copy_side_files(const Checkpoint& base, const Adapter& adapter,
                                      const std::filesystem::path& folder);

/// mergegauge_merge.json: inputs and outputs with digests, what was done to which tensor, every
/// change.
void write_provenance(const Checkpoint& base, const Adapter& adapter, const MergePlan& plan,
                      const MergeOptions& options, const MergeSummary& summary,
                      const std::vector<SideFile>& side_files, const std::filesystem::path& folder,
                      ThreadPool& pool);

void write_text(const std::filesystem::path& path, const std::string& text);

}  // namespace mg
