// What a piece of work needs at least: multiplications and bytes, counted from shapes, so that
// measured times can be held against the machine's peaks.  Not for: what the machine can do
// (kernels/bench/peaks.h).
#pragma once

#include <cstdint>

#include "harness/lanes/weight_source.h"

namespace mg {

struct WorkCost {
  double flops = 0;  // a multiply-add is two
  double bytes = 0;  // of weights, keys and values, each read once
};

/// Stored bytes of a lane: every matrix, norm and low-rank part once.
std::uint64_t weight_bytes(WeightSource& source);

/// `batch` prompts of `length` tokens; of each the last token's logits.
WorkCost prefill_cost(WeightSource& source, std::int64_t length, std::int64_t batch);

/// One token for each of `batch` prompts that have `context` tokens.
WorkCost decode_cost(WeightSource& source, std::int64_t context, std::int64_t batch);

}  // namespace mg
