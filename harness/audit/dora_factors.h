// DoRA's factor m/|W + D| as a recipe that rounds on the way computes it: the norm is then taken of
// the rounded W + D.  Not for: recipes in full precision, whose norm DeltaRows has already.  Tested
// in tests/audit/explain_test.cc and with PEFT's arithmetic in tests/audit/healthy_test.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/audit/measure.h"
#include "harness/audit/recipe.h"

namespace mg {

struct DoraFactor {
  double value = 1.0;
  double error = 0.0;  // relative: what FP32 arithmetic in any order can do to it
};

/// Whether the norm under this recipe differs from that of the exact W + D.
bool has_own_norm(const Recipe& recipe);

/// W + scale*D before DoRA's factor, rounded as the recipe does; all three hold the same elements,
/// `product` at `scale` times the adapter's own.
void update_weights(const Recipe& recipe, double scale, const std::vector<double>& weight,
                    const std::vector<double>& product, std::vector<double>& out);

/// One factor per stored row of [begin, end) where the norms run along rows; else one per column,
/// which takes all rows whatever the range.
std::vector<DoraFactor> dora_factors(const TargetViews& views, const Recipe& recipe, double scale,
                                     std::int64_t begin, std::int64_t end);

}  // namespace mg
