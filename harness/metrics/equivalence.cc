#include "harness/metrics/equivalence.h"

#include <algorithm>
#include <cmath>

#include "harness/metrics/distributions.h"

namespace mg {
namespace {

// Nothing sensible needs more prompts than this; beyond, the answer is "sampling will not decide".
constexpr double kMostPrompts = 1e9;

std::optional<std::int64_t> prompts(double factor, double se, std::int64_t clusters, double gap) {
  const double sigma = se * std::sqrt(static_cast<double>(clusters));
  const double needed = std::ceil(factor * factor * (sigma / gap) * (sigma / gap));
  if (!(needed <= kMostPrompts)) {
    return std::nullopt;
  }
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(needed));
}

}  // namespace

Decision decide_two_sided(const Interval& ci90, double lower_limit, double upper_limit) {
  if (ci90.lower > lower_limit && ci90.upper < upper_limit) {
    return Decision::kInside;
  }
  if (ci90.lower >= upper_limit || ci90.upper <= lower_limit) {
    return Decision::kOutside;
  }
  return Decision::kUndecided;
}

Decision decide_upper(const Interval& ci90, double limit) {
  if (ci90.upper <= limit) {
    return Decision::kInside;
  }
  if (ci90.lower > limit) {
    return Decision::kOutside;
  }
  return Decision::kUndecided;
}

double equivalence_power(double se, double margin, std::int64_t clusters) {
  if (clusters < 2) {
    return 0.0;
  }
  if (se == 0.0) {
    return margin > 0.0 ? 1.0 : 0.0;
  }
  const double t = student_t_quantile(0.95, static_cast<double>(clusters - 1));
  return std::max(0.0, 2.0 * normal_cdf(margin / se - t) - 1.0);
}

double upper_bound_power(double se, double limit, double neutral, std::int64_t clusters) {
  if (clusters < 2) {
    return 0.0;
  }
  if (se == 0.0) {
    return limit >= neutral ? 1.0 : 0.0;
  }
  const double t = student_t_quantile(0.95, static_cast<double>(clusters - 1));
  return normal_cdf((limit - neutral) / se - t);
}

std::optional<std::int64_t> prompts_for_equivalence(double se, std::int64_t clusters,
                                                    double margin) {
  return prompts(normal_quantile(0.95) + normal_quantile(0.90), se, clusters, margin);
}

std::optional<std::int64_t> prompts_for_bound(double se, std::int64_t clusters, double value,
                                              double limit) {
  return prompts(normal_quantile(0.95) + normal_quantile(0.80), se, clusters,
                 std::abs(limit - value));
}

double rule_of_three_bound(double n) {
  return n > 0.0 ? std::min(1.0, 3.0 / n) : 1.0;
}

}  // namespace mg
