// Throughput and memory of the lanes, measured in one paired run.  Filled by harness/bench, written
// by reports/. Not for: judging a claim about them (verdict.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/result/metric.h"

namespace mg {

/// One measured setting of one lane.
struct BenchRate {
  std::string phase;        // "prefill", "decode"
  std::string lane;         // "adapter", "merged", "base"
  std::int64_t length = 0;  // prefill: tokens of the prompt; decode: tokens already in the cache
  std::int64_t batch = 1;   // prompts at once
  std::optional<double> tokens_per_s;  // median over rounds
  std::optional<Interval> ci95;        // tokens/s
  std::int64_t rounds = 0;             // after warm-up
};

/// subject / reference of the same setting, paired by round; above 1 the subject is faster.
struct BenchRatio {
  std::string phase;
  std::string reference;
  std::string subject;
  std::int64_t length = 0;
  std::int64_t batch = 1;
  std::optional<double> value;  // median of the rounds' ratios
  std::optional<Interval> ci95;
};

struct BenchMemory {
  std::string lane;
  std::uint64_t weight_bytes = 0;
  std::uint64_t peak_bytes = 0;  // anonymous memory
};

struct BenchResult {
  std::vector<BenchRate> rates;
  std::vector<BenchRatio> ratios;
  std::vector<BenchMemory> memory;
};

}  // namespace mg
