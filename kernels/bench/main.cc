// Benchmarks of every operation of kernels/backend.h on the cpu backend.
//
//   kernels_bench [--threads=N] [--isa=NAME] [--check] [Google Benchmark's flags]
//
// Every case is first checked against the oracle on its own inputs; `--check` does nothing else.
// Exit code 1 where a check fails.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

#include "kernels/bench/measure.h"
#include "kernels/registry.h"

namespace mg::bench {
namespace {

struct Flags {
  int threads = 0;
  std::string isa;
  bool check_only = false;
};

/// The value of "--name=value".
std::optional<std::string_view> value_of(std::string_view argument, std::string_view name) {
  if (!argument.starts_with(name) || argument.size() <= name.size() ||
      argument[name.size()] != '=') {
    return std::nullopt;
  }
  return argument.substr(name.size() + 1);
}

/// Takes our own flags out of argv.
Flags take_flags(int& argc, char** argv) {
  Flags flags;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (const auto threads = value_of(argument, "--threads")) {
      std::from_chars(threads->data(), threads->data() + threads->size(), flags.threads);
    } else if (const auto isa = value_of(argument, "--isa")) {
      flags.isa = *isa;
    } else if (argument == "--check") {
      flags.check_only = true;
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  return flags;
}

OperationCases all_cases() {
  OperationCases cases;
  add_linear_cases(cases);
  add_attention_cases(cases);
  add_norm_cases(cases);
  add_elementwise_cases(cases);
  add_memory_cases(cases);
  return cases;
}

int check_all(const OperationCases& cases, Backend& backend, Backend& oracle) {
  int failures = 0;
  for (const OperationCase& operation : cases) {
    const std::string wrong = check(operation, backend, oracle);
    if (!wrong.empty()) {
      fmt::print("{}: {}\n", operation.name, wrong);
      ++failures;
    }
  }
  fmt::print("{} of {} benchmarks give the oracle's results\n",
             static_cast<int>(cases.size()) - failures, cases.size());
  return failures;
}

int run(int argc, char** argv) {
  const Flags flags = take_flags(argc, argv);
  ThreadPool pool(flags.threads);
  const auto backend = make_backend("cpu", {.pool = &pool, .isa = flags.isa});
  const auto oracle = make_backend("reference", {.pool = &pool, .isa = {}});
  const OperationCases cases = all_cases();
  if (flags.check_only) {
    return check_all(cases, *backend, *oracle) == 0 ? 0 : 1;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  set_yardstick_threads(pool.threads());
  Peaks peaks(backend->info().isa, pool);
  int failures = 0;
  for (const OperationCase& operation : cases) {
    benchmark::RegisterBenchmark(operation.name.c_str(),
                                 [&](benchmark::State& state) {
                                   const std::string wrong = check(operation, *backend, *oracle);
                                   if (!wrong.empty()) {
                                     ++failures;
                                     state.SkipWithError(wrong.c_str());
                                     return;
                                   }
                                   measure(state, operation, *backend, peaks);
                                 })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::AddCustomContext(
      "cpu backend", fmt::format("{}, {} threads", backend->info().isa, backend->info().threads));
  benchmark::AddCustomContext(
      "measured peaks",
      fmt::format("{:.0f} GFLOP/s, {:.1f} GB/s read", peaks.flops() * 1e-9, peaks.bytes() * 1e-9));
  benchmark::AddCustomContext("oneDNN", have_yardstick() ? "FP32 GEMM at the same shapes" : "none");
  benchmark::RunSpecifiedBenchmarks();
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace mg::bench

int main(int argc, char** argv) {
  return mg::bench::run(argc, argv);
}
