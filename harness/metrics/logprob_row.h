// What an engine says of given tokens in one place of a text.  Not for: computing it
// (harness/run/token_logprobs.h), holding it against a server (harness/client/compare_logprobs.h).
#pragma once

#include <cstdint>
#include <vector>

namespace mg {

/// Where a logit is not finite there is nothing but that.
struct LogprobRow {
  bool finite = true;
  std::int32_t top = 0;         // most likely, in exact arithmetic
  std::vector<double> exact;    // log-probabilities of the tokens asked for, nat
  std::vector<double> rounded;  // with activations rounded as servers do; may not be finite
  std::vector<bool> in_top;  // beside them: among the K most likely in exact arithmetic, ties too
};

}  // namespace mg
