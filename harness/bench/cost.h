// What a piece of work needs at least: multiplications and bytes, counted from shapes, so that
// measured times can be held against the machine's peaks.  Not for: what the machine can do
// (kernels/bench/peaks.h).
#pragma once

#include <cstdint>

#include "harness/lanes/weight_source.h"

namespace mg {

struct WorkCost {
  double flops = 0;  // a multiply-add is two
  double bytes = 0;  // of weights (as in WeightBytes), keys and values, each read once
};

/// Bytes of a lane's weights in the form that the host's kernels read them in: every matrix, norm
/// and low-rank part once.  16-bit weights are read as stored; of a weight that is stored as codes
/// its FP32 copy is read, which decoding keeps in memory (a device decodes by itself).
struct WeightBytes {
  std::uint64_t all = 0;
  std::uint64_t decoded = 0;   // of them FP32 copies of codes
  std::uint64_t low_rank = 0;  // of them the adapter's own
};
WeightBytes weight_bytes(WeightSource& source);

/// `batch` prompts of `length` tokens; of each the last token's logits.
WorkCost prefill_cost(WeightSource& source, std::int64_t length, std::int64_t batch);

/// One token for each of `batch` prompts that have `context` tokens.
WorkCost decode_cost(WeightSource& source, std::int64_t context, std::int64_t batch);

}  // namespace mg
