// DoRA's factor of each output: magnitude / |W + s*B*A|, the norm over that output's inputs
// (peft.tuners.lora.dora; for an embedding over the vocabulary, one factor for each of the H
// columns).
#pragma once

#include <vector>

#include "harness/model/attach.h"

namespace mg {

/// One factor for each output of the attached weight, in double.  Reads the whole base weight once.
/// Throws Error "adapter.dora" when the magnitude's length is not the number of outputs.
std::vector<double> dora_factors(const AttachedDelta& attached);

}  // namespace mg
