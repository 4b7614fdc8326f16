// The folders of a run, opened and understood: base, adapter, merged.
#pragma once

#include <filesystem>
#include <memory>

#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"
#include "harness/model/attach.h"
#include "harness/model/resolve.h"
#include "suites/suite.h"

namespace mg {

/// A checkpoint and what its tensors mean.  Kept behind a pointer: the resolution points into the
/// checkpoint.
struct OpenModel {
  Checkpoint checkpoint;
  ResolvedModel model;

  explicit OpenModel(const std::filesystem::path& folder)
      : checkpoint(Checkpoint::open(folder)), model(resolve_model(checkpoint)) {}
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

/// Throws Error "model.quantised" for a checkpoint whose weights are codes: lanes read plain
/// weights only.
void require_plain_weights(const OpenModel& model);

}  // namespace mg
