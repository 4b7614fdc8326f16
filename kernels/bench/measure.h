// Times one operation beside the machine's peaks and, where it is a matrix product, beside
// oneDNN's, in turns: each share compares things that ran within milliseconds of each other, so
// that it holds on a machine that others use too.
#pragma once

#include <benchmark/benchmark.h>

#include "kernels/bench/operation.h"
#include "kernels/bench/peaks.h"

namespace mg::bench {

/// Sets the counters GFLOP/s, GB/s (of the fastest turn), of_flops and of_memory (their shares of
/// the peaks) and, for products, oneDNN (its GFLOP/s) and of_oneDNN (median of the turns' ratios).
void measure(benchmark::State& state, const OperationCase& operation, Backend& backend,
             Peaks& peaks);

}  // namespace mg::bench
