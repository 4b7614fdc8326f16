// One comparison on several devices: each takes some consecutive prompts through all lanes, in a
// thread of its own, and the results are put together as one device would have given them, bit for
// bit. Not for: what a device does (lockstep.h).
#pragma once

#include <span>
#include <vector>

#include "harness/lanes/lockstep.h"

namespace mg {

/// The lanes of one device, in the same order on each.  Sources and threads are its own: neither
/// may be used by two threads at once.
struct DeviceLanes {
  ThreadPool* pool = nullptr;
  std::vector<Lane> lanes;
};

/// Consecutive prompts of a batch.
struct BatchPart {
  std::size_t first_prompt = 0;
  std::int64_t first_row = 0;
  Batch batch;
};

/// About equally many tokens each, whole prompts only; at most `parts`, none below kMinStableRows
/// tokens unless the batch is.
std::vector<BatchPart> split_prompts(const Batch& batch, std::size_t parts);

/// As run_lockstep() with one device's lanes; with more, `observer` gets every row once, from
/// several threads at once and in any order.  Fingerprints are one device's only.
LockstepResult run_on_devices(std::span<const DeviceLanes> devices, const Batch& batch,
                              const LockstepOptions& options, Observer& observer);

}  // namespace mg
