// Guards: conditions under which a number would mean nothing (docs/reference/metrics.md
// section 3.1). Private to harness/verdict.
#pragma once

#include <string>

#include "harness/verdict/judge.h"

namespace mg {

struct GuardResult {
  Judgement judgement;
  std::string all_invalid;     // why no output gate means anything; empty: they do
  std::string passes_invalid;  // why no pass means anything (a fail still does); empty: they do
  std::string
      ratios_invalid;  // why the merge error ratio and the slope mean nothing; empty: they do
};

GuardResult check_guards(const JudgeInputs& inputs);

/// Those of JudgeInputs::served.  Equal logits are no fault there: a 16-bit file may hold merged's
/// own numbers.  What concerns base and adapter alone is told by the run's own guards.
GuardResult check_served(const JudgeInputs& inputs);

}  // namespace mg
