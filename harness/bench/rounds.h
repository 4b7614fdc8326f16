// Paired rounds: in each, every lane does the same work twice, A B C C B A, so that a machine that
// grows slower or faster meanwhile does so for all of them; what is compared are ratios within a
// round.  Not for: what the work is (workload.h).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "harness/metrics/statistics.h"
#include "harness/result/bench.h"
#include "harness/result/verdict.h"

namespace mg {

/// Seconds from some point on; a test's own where it must not depend on the machine.
using BenchClock = std::function<double()>;
BenchClock wall_clock();

/// One lane's share of a round.
using BenchTurn = std::function<void()>;

/// Seconds of each lane in one round: the sum of its two turns.  Rounds begin with another lane
/// each, since what happens between them (caches that others filled) meets the first.
std::vector<double> run_round(std::span<const BenchTurn> turns, const BenchClock& clock,
                              std::size_t round = 0);

/// A lane's tokens/s over its rounds: median and interval.
BenchRate rate_of(std::span<const double> seconds, double tokens, const BootstrapPlan& plan);

/// How many times as fast the subject is, round by round: median, intervals by the bootstrap over
/// rounds (none below kFewestClusters of them), and what they say of the margin: "equivalent" where
/// the 90 % interval lies within 1 / (1 + margin) .. 1 + margin (two one-sided tests at 5 %), else
/// "faster" or "slower" where it lies beyond an end, else "undecided".
BenchRatio ratio_of(std::span<const double> reference_seconds,
                    std::span<const double> subject_seconds, double margin,
                    const BootstrapPlan& plan);

/// The gate of a ratio: the subject may not be slower than the reference by more than the margin.
Verdict judge_ratio(const BenchRatio& ratio, double margin, std::string gate);

/// The gate of each setting of the pair, "bench." and its phase.
std::vector<Verdict> judge_bench(const BenchResult& bench, const std::string& reference,
                                 const std::string& subject);

}  // namespace mg
