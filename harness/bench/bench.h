// Prefill and decoding of several lanes, measured in paired rounds under Google Benchmark.  Not
// for: servers over the network, or the operations one by one (kernels/bench).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/bench/rounds.h"
#include "harness/lanes/lockstep.h"
#include "harness/result/bench.h"
#include "harness/result/finding.h"
#include "kernels/backend.h"
#include "kernels/core/parallel.h"

namespace mg {

/// Lanes that work as one contestant: one, or as many as there are adapters in a batch.
struct BenchLane {
  std::string name;
  std::vector<WeightSource*> sources;  // more than one share a step's batch between them
  double load_s = 0;                   // how long it took to open
};

/// A pair of contestants whose ratio is reported.
struct BenchPair {
  std::string reference;
  std::string subject;
};

struct BenchSetting {
  std::string phase;        // "prefill", "decode"
  std::int64_t length = 0;  // tokens of a prompt, or in the cache before the first step
  std::int64_t batch = 1;
};

struct BenchOptions {
  std::vector<BenchSetting> settings;
  std::int64_t rounds = 12;  // after one that is dropped
  double margin = 0.05;
  std::int64_t decode_steps = 4;                        // of one turn
  std::uint64_t cache_limit = std::uint64_t{4} << 30U;  // settings that need more are left out
  BootstrapPlan bootstrap;
  std::vector<std::string> google_flags;  // Google Benchmark's own
  // Test seams.
  BenchClock clock;                                          // empty: the wall's
  std::function<void(const std::string& lane)> before_turn;  // inside the measured time
};

struct BenchRun {
  BenchResult result;
  std::vector<Finding> findings;  // settings that were left out
  std::string google_json;        // Google Benchmark's own report
};

/// All lanes stand on `backend`.  Lanes of one name may not repeat.  Throws Error "bench.flags"
/// where Google Benchmark does not know a flag, and what a Decoder throws.
BenchRun run_bench(Backend& backend, const std::vector<BenchLane>& lanes,
                   const std::vector<BenchPair>& pairs, const BenchOptions& options,
                   ThreadPool& pool, const std::function<void(double)>& progress);

}  // namespace mg
