// What this machine can do at best, measured: the two ceilings that benchmarks are held against.
// Not for: the rate of a real matrix product (yardstick.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/core/parallel.h"
#include "kernels/cpu/scratch.h"

namespace mg::bench {

class Peaks {
 public:
  /// `isa` is the instruction set whose fused multiply-adds are counted ("portable": separate
  /// ones).
  Peaks(std::string_view isa, ThreadPool& pool);

  /// Runs both loops once more, some 10 ms; the best so far counts.
  void measure();
  double flops() const { return flops_; }  // per second, a multiply-add is two
  double bytes() const { return bytes_; }  // read from main memory per second

 private:
  using MultiplyAdds = double (*)(long rounds);  // returns the flops it did

  ThreadPool& pool_;
  MultiplyAdds multiply_adds_;
  cpu::AlignedFloats memory_;  // larger than any cache
  std::int64_t part_ = 0;      // of memory_, read next
  double flops_ = 0;
  double bytes_ = 0;
};

}  // namespace mg::bench
