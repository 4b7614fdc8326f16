// The models that are to be served in merged's place (--also): a GGUF file, a folder of codes or
// another 16-bit folder.  Opened, named as lanes, held against merged's sizes, described.  Not for:
// running them (compare.h) or judging them (harness/verdict).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/result/comparison.h"
#include "harness/result/finding.h"
#include "harness/result/report.h"
#include "harness/run/models.h"

namespace mg {

struct OpenServed {
  std::filesystem::path path;
  std::string lane;
  std::unique_ptr<OpenModel> model;
};

/// Lane names: the files' or folders' own, told apart by numbers from each other and from the lanes
/// that every run has.
std::vector<std::string> served_lanes(const std::vector<std::filesystem::path>& paths);

/// Throws Error "served.architecture", "served.vocabulary" where the model cannot stand beside
/// merged, "checkpoint.tensors", "model.quantised", "gguf.*", ... where it cannot be read.
OpenServed open_served(const std::filesystem::path& path, const std::string& lane,
                       const OpenModel& merged, BlockOrder block_order);

/// What the report says of it; `profile` names the gates that it is held against.
AlsoModel describe_served(const OpenServed& served, const std::string& profile);

/// Bits that a weight of the layers' matrices takes on average, scales included.  Embeddings and
/// head are left out: quantisers leave them in 16 bits or not, and their share depends on the
/// model's size.
double bits_per_weight(const OpenModel& model);

/// A warning where the vocabularies have other sizes: what only one has is left out of every
/// comparison.
std::vector<Finding> vocabulary_findings(const OpenServed& served, const OpenModel& merged);

/// From the pair merged against the lane: the file behaves like the base (F07), or the adapter's
/// effect is smaller than what the quantisation changes (F29).
std::vector<Finding> effect_findings(const Comparison& comparison);

}  // namespace mg
