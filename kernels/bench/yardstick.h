// oneDNN's FP32 matrix product at the same shapes: the rate our own kernel is measured against.
// Only benchmarks use oneDNN (DESIGN.md section 7 says why), and they build without it.
#pragma once

#include <cstdint>

namespace mg::bench {

/// out [rows, outputs] = x [rows, inputs] * w^T, w [outputs, inputs].
struct GemmShape {
  std::int64_t rows = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;

  double flops() const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(inputs) *
           static_cast<double>(outputs);
  }
};

/// Whether this build has oneDNN.
bool have_yardstick();

/// For all later calls.
void set_yardstick_threads(int threads);

/// One product, all operands dense FP32.  oneDNN's threads keep spinning for some milliseconds
/// afterwards: call settle() before timing anything else.
void yardstick_gemm(const GemmShape& shape, const float* x, const float* w, float* out);

/// Waits until oneDNN's threads have gone to sleep.
void settle();

}  // namespace mg::bench
