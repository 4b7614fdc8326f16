// Lint judges tokenizer and template files by what stands in them, the prompts by what comes out of
// them: one fault, told once in a check.
#pragma once

#include <vector>

#include "harness/result/finding.h"

namespace mg {

/// Removes from `lint` the findings of faults that `prompts` tell as well, with the ids and the
/// text that the prompts met; where --fix repairs the fault, what is kept says so.
void tell_once(std::vector<Finding>& lint, std::vector<Finding>& prompts);

}  // namespace mg
