// The mixture-of-experts half of a layer, in place of the MLP (Qwen3-MoE): each token's k best
// experts, weighted.
#pragma once

#include <span>

#include "harness/model/forward.h"

namespace mg {

/// y [lanes*T, H] = sum over each token's experts of weight * expert(x); x [lanes*T, H] is normed
/// already.
void moe_block(Backend& backend, std::span<const LaneBlock> lanes, Mat x, Mat y, Workspace& work);

}  // namespace mg
