#include "harness/bench/rounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "harness/metrics/equivalence.h"
#include "harness/metrics/quantile.h"
#include "harness/metrics/random.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return quantile_of_sorted(values, 0.5);
}

/// Of the median, by the percentiles of its bootstrap over rounds.
std::optional<Interval> median_interval(std::span<const double> values, double level,
                                        const BootstrapPlan& plan) {
  const auto rounds = static_cast<std::int64_t>(values.size());
  if (rounds < kFewestClusters || !std::all_of(values.begin(), values.end(),
                                               [](double value) { return std::isfinite(value); })) {
    return std::nullopt;
  }
  std::vector<double> medians;
  std::vector<double> drawn(values.size());
  for (std::int64_t replicate = 0; replicate < plan.replicates; ++replicate) {
    SplitMix64 random = replicate_stream(plan.seed, replicate);
    for (double& value : drawn) {
      value = values[static_cast<std::size_t>(random.below(rounds))];
    }
    medians.push_back(median_of(drawn));
  }
  std::sort(medians.begin(), medians.end());
  return Interval{quantile_of_sorted(medians, (1 - level) / 2),
                  quantile_of_sorted(medians, (1 + level) / 2)};
}

std::string decision_of(const std::optional<Interval>& ci90, double margin) {
  if (!ci90) {
    return "undecided";
  }
  const double low = 1 / (1 + margin);
  const double high = 1 + margin;
  switch (decide_two_sided(*ci90, low, high)) {
    case Decision::kInside:
      return "equivalent";
    case Decision::kOutside:
      return ci90->lower >= high ? "faster" : "slower";
    case Decision::kUndecided:
      break;
  }
  return "undecided";
}

}  // namespace

BenchClock wall_clock() {
  return [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  };
}

std::vector<double> run_round(std::span<const BenchTurn> turns, const BenchClock& clock,
                              std::size_t round) {
  std::vector<double> seconds(turns.size(), 0.0);
  const auto take = [&](std::size_t index) {
    const std::size_t lane = (index + round) % turns.size();
    const double begin = clock();
    turns[lane]();
    seconds[lane] += clock() - begin;
  };
  for (std::size_t index = 0; index < turns.size(); ++index) {
    take(index);
  }
  for (std::size_t index = turns.size(); index-- > 0;) {
    take(index);
  }
  return seconds;
}

BenchRate rate_of(std::span<const double> seconds, double tokens, const BootstrapPlan& plan) {
  BenchRate rate;
  rate.rounds = static_cast<std::int64_t>(seconds.size());
  std::vector<double> rates;
  for (const double each : seconds) {
    rates.push_back(tokens / each);
  }
  if (!rates.empty()) {
    rate.tokens_per_s = median_of(rates);
    rate.ci95 = median_interval(rates, 0.95, plan);
  }
  return rate;
}

BenchRatio ratio_of(std::span<const double> reference_seconds,
                    std::span<const double> subject_seconds, double margin,
                    const BootstrapPlan& plan) {
  MG_CHECK(reference_seconds.size() == subject_seconds.size(), "lanes are paired by round");
  BenchRatio ratio;
  std::vector<double> ratios;
  for (std::size_t round = 0; round < subject_seconds.size(); ++round) {
    ratios.push_back(reference_seconds[round] / subject_seconds[round]);
  }
  if (!ratios.empty()) {
    ratio.value = median_of(ratios);
    ratio.ci95 = median_interval(ratios, 0.95, plan);
    ratio.ci90 = median_interval(ratios, 0.90, plan);
  }
  ratio.decision = decision_of(ratio.ci90, margin);
  return ratio;
}

Verdict judge_ratio(const BenchRatio& ratio, double margin, std::string gate) {
  const double limit = 1 / (1 + margin);
  Verdict verdict;
  verdict.gate = std::move(gate);
  verdict.subject = fmt::format("{}/{}, {} tokens x {}", ratio.reference, ratio.subject,
                                ratio.length, ratio.batch);
  verdict.unit = "ratio";
  verdict.value = ratio.value;
  verdict.lower_limit = limit;
  verdict.ci95 = ratio.ci95;
  verdict.ci90 = ratio.ci90;
  verdict.basis = fmt::format("not slower by more than {} %", 100 * margin);
  if (!ratio.ci90) {
    verdict.status = GateStatus::kInconclusive;
    verdict.reason = fmt::format("fewer than {} rounds give no interval", kFewestClusters);
  } else if (ratio.ci90->lower >= limit) {
    verdict.status = GateStatus::kPass;
    verdict.reason = ratio.subject + " is " + ratio.decision;
  } else if (ratio.ci90->upper < limit) {
    verdict.status = GateStatus::kFail;
    verdict.reason =
        ratio.subject + " is slower than " + ratio.reference + " by more than the margin";
  } else {
    verdict.status = GateStatus::kInconclusive;
    verdict.reason = "the interval holds the limit: more rounds, or a quieter machine";
  }
  return verdict;
}

std::vector<Verdict> judge_bench(const BenchResult& bench, const std::string& reference,
                                 const std::string& subject) {
  std::vector<Verdict> verdicts;
  for (const BenchRatio& ratio : bench.ratios) {
    if (ratio.reference == reference && ratio.subject == subject) {
      verdicts.push_back(judge_ratio(ratio, bench.margin, "bench." + ratio.phase));
    }
  }
  return verdicts;
}

}  // namespace mg
