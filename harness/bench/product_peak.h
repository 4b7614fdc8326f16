// The rate of matrix products that an engine reaches here at best: the ceiling of prefill, on
// whatever device the backend runs.  Not for: what the units could do (kernels/bench/peaks.h), nor
// how the product compares with a library's (kernels_bench).
#pragma once

#include <memory>
#include <vector>

#include "kernels/backend.h"

namespace mg {

/// Times linear() on 512 rows of 2048 values and 16-bit weights [2048, 2048], which are resident.
class ProductPeak {
 public:
  explicit ProductPeak(Backend& backend);

  /// Runs it once more; the best so far counts.
  void measure();
  double flops() const { return flops_; }  // per second, a multiply-add is two

 private:
  Backend& backend_;
  std::vector<std::uint16_t> weights_;
  std::unique_ptr<Buffer> x_;
  std::unique_ptr<Buffer> out_;
  std::vector<float> staging_;
  double flops_ = 0;
};

}  // namespace mg
