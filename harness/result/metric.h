// Plain data of one measured quantity: where, how large, how certain.  Filled by harness/metrics,
// written by reports/.  Not for: computing anything.  Absent numbers are std::nullopt (JSON null);
// NaN never gets here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

/// A two-sided interval; the JSON form is [lower, upper].
struct Interval {
  double lower = 0.0;
  double upper = 0.0;
  bool operator==(const Interval&) const = default;
};

/// One row of logits: a prompt's id in its suite and the row's index, counted from 0.
struct Place {
  std::string prompt;
  std::int64_t position = 0;
  std::optional<std::int64_t>
      token;  // the vocabulary entry, where the quantity has one (max |delta logit|)
  bool operator==(const Place&) const = default;
};

/// How an interval was made (docs/reference/metrics.md section 3, rule 3).
enum class IntervalMethod {
  kNone,         // fewer than 5 prompts
  kLogT,         // 5..19 prompts, non-negative quantity: t interval on the log scale
  kT,            // prompt-clustered t interval (5..19 prompts, signed quantity)
  kBca,          // cluster bootstrap, bias-corrected and accelerated: from 20 prompts
  kExact,        // the quantity did not vary: every prompt has the same value
  kRuleOfThree,  // a share without a single event in n rows: at most 3 / n (95 %, one-sided)
};

/// Summary of one metric over rows.  All numbers are over the finite values only; `non_finite`
/// counts the rest.
struct MetricSummary {
  std::optional<double> mean;  // pooled over rows
  std::optional<Interval> ci95;
  std::optional<Interval> ci90;  // its ends are the one-sided 95 % bounds that gates use
  IntervalMethod ci_method = IntervalMethod::kNone;
  std::optional<double> se;  // clustered by prompt
  std::optional<double> p50;
  std::optional<double> p90;
  std::optional<double> p95;
  std::optional<double> p99;   // null below 10,000 rows
  std::optional<double> p999;  // null below 100,000 rows
  std::optional<Interval> p99_ci95;
  std::optional<double> min;
  std::optional<double> max;
  std::optional<Place> worst;  // place of the value furthest from neutral in the bad direction
  std::int64_t prompts = 0;    // with at least one finite value
  std::int64_t count = 0;      // finite values
  std::int64_t non_finite = 0;
};

struct NamedMetric {
  std::string name;  // as in harness/metrics/metric_table.h: "kl", "top1_agreement"
  MetricSummary summary;
};

/// A quantity made of two sums (merge error ratio, slope, R^2, perplexity ratio).
struct Ratio {
  std::optional<double> value;  // null where it is undefined (denominator zero)
  std::optional<Interval> ci95;
  std::optional<Interval> ci90;  // its ends are the one-sided 95 % bounds that gates use
  IntervalMethod ci_method = IntervalMethod::kNone;
  std::optional<double> se;  // jackknife over prompts
};

/// "none", "log-t", "t", "bca", "exact", "rule-of-three".
std::string_view interval_method_name(IntervalMethod method);
std::optional<IntervalMethod> interval_method_from_name(std::string_view name);

}  // namespace mg
