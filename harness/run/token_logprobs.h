// Our engine's log-probabilities of given tokens after given ids, in two arithmetics.  Not for:
// where the ids come from (harness/client asks a server for them).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "harness/lanes/weight_source.h"
#include "harness/metrics/logprob_row.h"
#include "harness/run/compare.h"
#include "kernels/core/parallel.h"

namespace mg {

/// wanted[i]: tokens whose log-probability after ids[0 .. first + i] is asked for.
struct LogprobQuery {
  std::string prompt;
  std::vector<std::int32_t> ids;
  std::int64_t first = 0;
  std::vector<std::vector<std::int32_t>> wanted;  // within the vocabulary
};

/// A row for each wanted[i] of each query.  `rounded` is the arithmetic of the second answer;
/// `top`: how many tokens are the most likely.
std::vector<std::vector<LogprobRow>> token_logprobs(WeightSource& source,
                                                    const EngineOptions& engine, Arithmetic rounded,
                                                    const std::vector<LogprobQuery>& queries,
                                                    std::int64_t top, ThreadPool& pool,
                                                    const std::function<void(double)>& progress);

}  // namespace mg
