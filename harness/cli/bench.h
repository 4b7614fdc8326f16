// What `mergegauge bench` and `check --bench` share: the lanes of three folders, measured into a
// report.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "harness/bench/bench.h"
#include "harness/result/report.h"
#include "harness/run/compare.h"

namespace mg {

struct BenchSetup {
  std::filesystem::path base;
  std::filesystem::path adapter;  // empty: no such lane
  std::filesystem::path merged;   // empty: no such lane
  EngineOptions engine;
  std::vector<std::int64_t> ranks;     // further lanes: adapters of these ranks
  std::vector<std::int64_t> adapters;  // further lanes: so many adapters in one batch
  BenchOptions options;
};

/// prefill at each length, decode at each batch and context.
std::vector<BenchSetting> bench_settings(const std::vector<std::int64_t>& prefill,
                                         const std::vector<std::int64_t>& batches,
                                         const std::vector<std::int64_t>& contexts);

/// The status that follows from what the report holds by now; it has no error.
void decide_again(Report& report);

/// Fills report.bench and adds its gates and findings; decides the report's status anew.  Returns
/// Google Benchmark's own JSON.
std::string measure_throughput(const BenchSetup& setup, ThreadPool& pool, Report& report,
                               const std::function<void(double)>& progress);

}  // namespace mg
