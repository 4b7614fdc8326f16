// Rows per second of the row kernel: three lanes (reference, subject, base), both sweeps, one
// thread. The argument is V; `path` in the name is the instruction path.  Checks its own result
// before timing.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "tests/metrics/row_oracle.h"

namespace mg {
namespace {

void three_lanes(benchmark::State& state, RowPath path, float noise) {
  if (path == RowPath::kAvx2 && best_row_path() != RowPath::kAvx2) {
    state.SkipWithError("this processor has no AVX2");
    return;
  }
  std::mt19937_64 random(1);
  const test::Row reference = test::random_row(state.range(0), random);
  const test::Row subject = test::with_noise(reference, noise, random);
  const test::Row base = test::with_noise(reference, 0.3F, random);
  const auto expected = static_cast<double>(
      test::oracle_kl(test::oracle_log_softmax(reference), test::oracle_log_softmax(subject)));
  const double actual = test::compare(reference, subject, &base, 7, path).kl;
  if (!(std::abs(actual - expected) <= 1e-10 * expected)) {
    state.SkipWithError("the kernel's KL is wrong");
    return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(test::compare(reference, subject, &base, 7, path));
  }
  state.counters["rows/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  state.counters["ns/entry"] =
      benchmark::Counter(static_cast<double>(state.iterations() * state.range(0)) * 1e-9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

BENCHMARK_CAPTURE(three_lanes, avx2_near, RowPath::kAvx2, 1e-3F)->Arg(49152)->Arg(151936);
BENCHMARK_CAPTURE(three_lanes, avx2_far, RowPath::kAvx2, 1.0F)->Arg(49152)->Arg(151936);
BENCHMARK_CAPTURE(three_lanes, portable_near, RowPath::kPortable, 1e-3F)->Arg(49152)->Arg(151936);

}  // namespace
}  // namespace mg

BENCHMARK_MAIN();
