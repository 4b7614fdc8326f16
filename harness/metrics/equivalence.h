// Deciding with samples: equivalence tests, what they could have seen, and how many prompts they
// need (docs/reference/metrics.md section 3, rules 6 to 8 and 11).  Not for: which limits apply
// (harness/verdict).
#pragma once

#include <cstdint>
#include <optional>

#include "harness/result/metric.h"

namespace mg {

enum class Decision { kInside, kOutside, kUndecided };

/// Two one-sided tests at 5 % each: inside iff the 90 % interval lies in (-margin, +margin),
/// outside iff it lies wholly beyond one end.  A bound that is NaN decides nothing.
Decision decide_two_sided(const Interval& ci90, double lower_limit, double upper_limit);

/// Inside iff the one-sided 95 % upper bound is at most the limit; outside iff the lower bound is
/// above it.
Decision decide_upper(const Interval& ci90, double limit);

/// Chance that the two-sided test passes if there is no true difference, at the sample's standard
/// error.
double equivalence_power(double se, double margin, std::int64_t clusters);

/// Chance that the upper-bound test passes if the true value is `neutral`, at the sample's standard
/// error.
double upper_bound_power(double se, double limit, double neutral, std::int64_t clusters);

/// Prompts for power 0.8 at 5 % of a two-sided equivalence test without a true difference:
/// (z_0.95 + z_0.90)^2 (sigma / margin)^2 = 8.56 (sigma / margin)^2, sigma = se * sqrt(clusters).
std::optional<std::int64_t> prompts_for_equivalence(double se, std::int64_t clusters,
                                                    double margin);

/// Prompts for power 0.8 at 5 % of telling `value` from `limit` in a one-sided test: (z_0.95 +
/// z_0.80)^2 (sigma / gap)^2.
std::optional<std::int64_t> prompts_for_bound(double se, std::int64_t clusters, double value,
                                              double limit);

/// No event in n (effective) trials: upper 95 % bound of its probability.
double rule_of_three_bound(double n);

}  // namespace mg
