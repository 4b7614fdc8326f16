// The folders of a run, opened and understood: base, adapter, merged.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"
#include "harness/model/attach.h"
#include "harness/model/resolve.h"
#include "harness/result/finding.h"
#include "suites/suite.h"

namespace mg {

/// A checkpoint and what its tensors mean, weights stored as codes as one FP32 tensor each.  Kept
/// behind a pointer: the resolution points into the checkpoint.
struct OpenModel {
  Checkpoint checkpoint;
  ResolvedModel model;

  explicit OpenModel(const std::filesystem::path& folder,
                     BlockOrder block_order = BlockOrder::kByRow)
      : checkpoint(Checkpoint::open(folder, {.decode = true, .block_order = block_order})),
        model(resolve_model(checkpoint)) {}
  OpenModel(const OpenModel&) = delete;
  OpenModel& operator=(const OpenModel&) = delete;
};

/// An adapter on its base.
struct OpenAdapter {
  Adapter adapter;
  AttachedAdapter attached;

  OpenAdapter(const std::filesystem::path& folder, const OpenModel& base)
      : adapter(Adapter::open(folder)), attached(attach(adapter, base.checkpoint)) {}
  OpenAdapter(const OpenAdapter&) = delete;
  OpenAdapter& operator=(const OpenAdapter&) = delete;
};

/// What prompts a model takes: vocabulary, context, and the special ids that its config names.
ModelLimits limits_of(const OpenModel& model);

/// Tokens that end a text: eos_token_id of config.json and of generation_config.json, one or a
/// list. Throws Error "json.*" where the second is there and cannot be read.
std::vector<std::int32_t> stop_ids_of(const OpenModel& model);

/// The model's vision tower; null where it has none, or one without a forward pass.
inline const VisionConfig* vision_of(const OpenModel& model) {
  const ModelConfig& config = model.model.config;
  return config.vision && model.model.arch->forward ? &*config.vision : nullptr;
}

/// A warning where rows of 4-bit weights end inside a block, which the library's own backends read
/// differently (FourBitMatrix::blocks_by_row); `role` says which checkpoint it is.
std::vector<Finding> block_order_findings(const OpenModel& model, const std::string& role);

/// Throws Error "model.quantised" for a checkpoint whose weights are codes of a format that is not
/// known: lanes read values.
void require_plain_weights(const OpenModel& model);

}  // namespace mg
