// The one comparator of backends: every element of a result against the oracle's, within its own
// tolerance. NaN must meet NaN and an infinity the same infinity; neither ever counts as a number.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace mg::contract {

struct Comparison {
  std::int64_t elements = 0;
  std::int64_t beyond = 0;      // finite on both sides, further apart than allowed
  std::int64_t non_finite = 0;  // NaN or infinity on one side only, or of another kind
  std::int64_t same_bits = 0;
  double worst_ratio = 0;   // |actual - expected| / allowed over finite pairs
  std::int64_t worst = -1;  // the first non-finite mismatch, else where worst_ratio is
  double expected = 0;      // there
  double actual = 0;
  double allowed = 0;

  bool ok() const { return beyond == 0 && non_finite == 0; }
  double same_share() const {
    return elements == 0 ? 1.0 : static_cast<double>(same_bits) / static_cast<double>(elements);
  }
};

/// Spans of equal length; allowed[i] >= 0 is an absolute distance (NaN allows nothing).
Comparison compare(std::span<const float> expected, std::span<const float> actual,
                   std::span<const double> allowed);

/// "3 of 120 elements too far, 1 not finite as expected; worst at 17: 0.25, expected 0.5, allowed
/// 1e-07"
std::string describe(const Comparison& comparison);

}  // namespace mg::contract
