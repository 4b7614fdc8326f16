// Where a series of nightly values changed its level.  Robust: a single odd run is no step.
// Not for: whether a level is good (gates).  Tested in tests/reports/steps_test.cc.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace mg {

struct Step {
  std::size_t at = 0;   // index of the first run on the new level
  double before = 0.0;  // median of the runs before, back to the step before this one
  double after = 0.0;   // median of the runs from it on
};

/// The steps of a series, in order.  Positive series are looked at on a logarithmic scale.  A step
/// splits a stretch of runs into two of at least three whose medians differ by more than five
/// standard errors of their difference (from the median absolute deviation, as of a normal
/// distribution) and by more than a tenth of the level.  The split is where the sum of absolute
/// distances from the two medians is smallest; stretches are split again until none is left.
std::vector<Step> find_steps(std::span<const double> values);

}  // namespace mg
