// Throughput and memory of the lanes, measured in one paired run (harness/bench), or of a server
// (harness/client).  Written by reports/.  Not for: judging a claim about them (verdict.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/result/metric.h"
#include "harness/result/server.h"

namespace mg {

/// One measured setting of one lane.
struct BenchRate {
  std::string phase;        // "prefill", "decode"
  std::string lane;         // "adapter", "merged", "base", "adapter-r64" (of another rank),
                            // "adapters-4" (as many in one batch)
  std::int64_t length = 0;  // prefill: tokens of the prompt; decode: tokens already in the cache
  std::int64_t batch = 1;   // prompts at once
  std::optional<double> tokens_per_s;  // median over rounds
  std::optional<Interval> ci95;        // tokens/s
  std::int64_t rounds = 0;             // after warm-up
  double flops = 0;                    // of the linear maps and attention, once
  double bytes = 0;                    // of weights (as in BenchMemory), keys and values read, once
  std::optional<double> of_flops = std::nullopt;   // share of BenchResult::peak_flops
  std::optional<double> of_memory = std::nullopt;  // share of BenchResult::peak_bytes
};

/// subject / reference of the same setting, paired by round; above 1 the subject is faster.
struct BenchRatio {
  std::string phase;  // as above; of a server "throughput", "first-token", "inter-token"
  std::string reference;
  std::string subject;
  std::int64_t length = 0;      // of a server: tokens asked for
  std::int64_t batch = 1;       // of a server: requests at once
  std::optional<double> value;  // median of the rounds' ratios
  std::optional<Interval> ci95;
  std::optional<Interval> ci90 =
      std::nullopt;        // what was held against the margin: one-sided 95 % bounds
  std::string decision{};  // "equivalent", "faster", "slower", "undecided"
};

struct BenchMemory {
  std::string lane;
  std::uint64_t weight_bytes = 0;  // in the form that products read them in (docs/bench.md)
  std::uint64_t peak_bytes = 0;    // anonymous memory
  std::uint64_t cache_bytes = 0;   // keys and values of the largest setting
  std::optional<double> load_s = std::nullopt;         // from folders to a lane that is ready
  std::optional<double> first_token_s = std::nullopt;  // of one prompt, of the length below
  std::int64_t first_token_length = 0;
  std::uint64_t decoded_bytes = 0;  // of weight_bytes: FP32 copies of weights stored as codes
};

struct BenchResult {
  std::vector<BenchRate> rates;
  std::vector<BenchRatio> ratios;
  std::vector<BenchMemory> memory;
  std::optional<double> peak_flops = std::nullopt;  // per second, of a large product in this run
  std::optional<double> peak_bytes = std::nullopt;
  double margin = 0;  // ratios within 1 / (1 + margin) .. 1 + margin are equivalent
  std::optional<ServerResult> server = std::nullopt;  // measured instead of our own engine
};

}  // namespace mg
