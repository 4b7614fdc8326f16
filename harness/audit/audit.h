// The weight audit: proves, tensor by tensor, whether merged is base + scale*B*A (and its
// relatives), names the merge recipe and, where it is not, what went wrong.  One streaming pass;
// memory does not grow with the model. Not for: file digests (`check`), configs and tokenizers
// (harness/lint).  Tested in tests/audit/.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/io/altered_tensors.h"
#include "harness/io/checkpoint.h"
#include "harness/model/attach.h"
#include "harness/result/audit.h"
#include "harness/result/finding.h"
#include "kernels/core/parallel.h"
#include "kernels/merge_statistics.h"

namespace mg {

/// The weights that merged was made from.
enum class MergedInto {
  kBase,       // those given as base
  kTrainedOn,  // AuditOptions::trained_on
  kOriginal,   // the 16-bit weights behind a base that is given in codes alone
};

struct AuditOutcome {
  AuditResult result;
  std::vector<Finding> findings;  // errors first, then warnings, then notes
  bool not_checked = false;       // something could not be judged: at best inconclusive
  MergedInto merged_into = MergedInto::kBase;
};

struct AuditOptions {
  /// Called between batches of tensors, on the calling thread: bytes of merged done, and in all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
  /// What is read of merged instead of its own bytes, or null.
  const AlteredTensors* altered = nullptr;
  /// The base the adapter was trained on, opened decoded, where it is another than the base merged
  /// is to stand on; or null.
  const Checkpoint* trained_on = nullptr;
  /// Passes over targets in the host's place, or null: the outcome is the same, bit for bit.
  MergeStatistics* device = nullptr;
};

/// `attached` is attach(adapter, base).  The result does not depend on the number of threads.
/// Throws Error "audit.quantised" for quantised weights, "file.shrank" if an input shrank
/// meanwhile.
AuditOutcome run_audit(const Checkpoint& base, const Adapter& adapter,
                       const AttachedAdapter& attached, const Checkpoint& merged, ThreadPool& pool,
                       const AuditOptions& options = {});

}  // namespace mg
