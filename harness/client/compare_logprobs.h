// How far a server's log-probabilities lie from our engine's, and whether that is the arithmetic's
// own noise.  Not for: reading either (logprobs.h, harness/run/token_logprobs.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/client/logprobs.h"
#include "harness/client/token_ids.h"
#include "harness/metrics/logprob_row.h"
#include "harness/metrics/statistics.h"
#include "harness/result/server.h"
#include "harness/result/verdict.h"

namespace mg {

/// A token in its place whose id is known.
struct KnownToken {
  std::int32_t id = 0;
  std::string text;
  std::optional<double> server;  // its log-probability, nat
};

struct KnownPosition {
  KnownToken chosen;
  std::vector<KnownToken> top;  // most likely first; each id once
};

/// The tokens of an answer up to the first whose id is not known: what comes behind it cannot be
/// run.  What is not known, or is no log-probability, is counted into `result`, the first of each
/// with `prompt` and its place.
std::vector<KnownPosition> known_positions(const LogprobAnswer& answer, const std::string& prompt,
                                           TokenIds& ids, ServerLogprobs& result);

/// Our engine was asked of each place for the chosen token and then for the listed ones.
struct ComparedAnswer {
  std::string prompt;
  std::vector<KnownPosition> server;
  std::vector<LogprobRow> engine;  // beside it
};

/// Fills what is summed up over the answers; intervals by prompt.
void summarise_logprobs(std::span<const ComparedAnswer> answers, const BootstrapPlan& bootstrap,
                        ThreadPool& pool, ServerLogprobs& result);

/// The mean may be kLogprobFloors times that between the engine's own arithmetics, and always
/// kLogprobSlack: kernels of another order of sums, and caches of 16 bits, add to it.  Inconclusive
/// where fewer than half of the tokens could be compared, failed where our own engine's numbers are
/// not finite.
inline constexpr double kLogprobFloors = 4;
inline constexpr double kLogprobSlack = 0.02;  // nat
Verdict judge_logprobs(const ServerLane& lane);

}  // namespace mg
