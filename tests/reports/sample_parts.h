// The parts that sample_reports.cc puts reports together from.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/reports/sample_reports.h"

namespace mg::samples {

inline constexpr int kCulprit = 12;  // the layer that dropped_layer() leaves out

/// A fixed sequence of numbers in [0, 1): SplitMix64.
class Sequence {
 public:
  explicit Sequence(std::uint64_t seed) : state_(seed) {}
  double next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }
  /// Around `middle`, spread over about a factor of `factor` each way.
  double around(double middle, double factor) {
    return middle * std::pow(factor, next() + next() - 1.0);
  }

 private:
  std::uint64_t state_;
};

/// How far the subject is from the reference in a sample.
struct Distance {
  double kl = 2.6e-6;
  double delta_nll = 1.1e-5;
  double agreement = 0.9997;
  double logit = 0.02;
};

Comparison comparison_of(Size size, const Distance& distance, bool dropped);
AuditResult audit_of(int layers, bool dropped);
/// Every gate that a check has, those of the outputs with this status.
std::vector<Verdict> verdicts_of(const Comparison& c, GateStatus status);
/// What every run has: tool, inputs, digests, floor, timing.
Report common(Size size);
Finding version_note();

}  // namespace mg::samples
