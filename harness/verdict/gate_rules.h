// One gate against one number: the rule, the limit with the run's floor in it, and the words that
// go with the outcome. Private to harness/verdict.
#pragma once

#include <optional>
#include <string>

#include "harness/result/metric.h"
#include "harness/result/verdict.h"
#include "harness/verdict/gate_profile.h"

namespace mg {

/// A number to judge, from a metric or a ratio.
struct GateValue {
  double value = 0.0;
  std::optional<Interval> ci95;
  std::optional<Interval> ci90;
  std::optional<double> se;
  IntervalMethod method = IntervalMethod::kNone;
  std::int64_t prompts = 0;
  std::int64_t rows = 0;
  double neutral = 0.0;
};

/// A limit with its numbers filled in; `text` is how it came about: "max(10 x floor, 1e-4)".
struct ResolvedLimit {
  double value = 0.0;
  std::string text;
  std::optional<double> floor;
};

/// Nothing where the limit is a multiple of a floor that was not measured.
std::optional<ResolvedLimit> resolve_limit(const GateLimit& limit, std::optional<double> floor);

/// Fills status, value, limits, interval, power, margins and reason by an upper limit.
void apply_at_most(const GateValue& value, double limit, std::int64_t fewest_prompts,
                   Verdict& verdict);

/// The same by a range; `margin` is half its width.
void apply_between(const GateValue& value, double lower, double upper, std::int64_t fewest_prompts,
                   Verdict& verdict);

}  // namespace mg
