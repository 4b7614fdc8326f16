// Writes the correct merge: base + delta in double, rounded once to the stored dtype, tensor by
// tensor through a stream; memory does not grow with the model.  The folder appears complete or not
// at all. Not for: judging somebody else's merge (audit.h).  Tested in tests/audit/merge_test.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"
#include "harness/model/attach.h"
#include "kernels/core/dtype.h"
#include "kernels/core/parallel.h"

namespace mg {

struct MergeOptions {
  /// Stored dtype of the weights; without one each tensor keeps the base's.  Tensors that the base
  /// keeps in a finer dtype than most of its weights (F32 norms and routers) keep it.
  std::optional<DType> dtype;
  std::uint64_t shard_bytes = 5'000'000'000;
  std::string tool;     // name and version, for the provenance file
  std::string command;  // as typed
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

struct MergeSummary {
  std::int64_t tensors = 0;
  std::int64_t merged = 0;       // weights and biases that got a delta
  std::int64_t replaced = 0;     // taken from the adapter, wholly or by rows
  std::int64_t dequantised = 0;  // decoded from the base's codes
  std::uint64_t bytes = 0;       // of tensors
  std::vector<std::string> weight_files;
  std::vector<std::string> side_files;      // copied
  std::vector<std::string> config_changes;  // one sentence each
};

/// `attached` is attach(adapter, base).  A base opened decoded (OpenOptions::decode) is merged into
/// as the numbers its codes stand for.  Throws Error "merge.*": `out` exists; the base is quantised
/// and not opened so; a part of the adapter reaches nothing or does not fit; a feature that cannot
/// be merged; values that are not finite or overflow the dtype (naming the tensor); "output.*"
/// where writing fails.  Nothing is left behind then.
MergeSummary merge_to_folder(const Checkpoint& base, const Adapter& adapter,
                             const AttachedAdapter& attached, const std::filesystem::path& out,
                             ThreadPool& pool, const MergeOptions& options);

}  // namespace mg
