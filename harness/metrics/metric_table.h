// Every metric of a comparison, one row each.  To add one: a field in PairRow if the row kernel
// does not have the number yet, and a row here.  The contract test (tests/metrics/contract_test.cc)
// then runs over it by itself: a lane against itself gives the neutral value, planted faults are
// seen, damage never reads as an improvement.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "harness/metrics/row_kernel.h"
#include "harness/metrics/statistics.h"

namespace mg {

/// What a metric may depend on beyond the row itself.
struct MetricContext {
  double flip_margin =
      0.5;  // a changed first token is a near tie if both gaps are at most this (logits)
};

/// Which way is worse.
enum class Worse { kHigher, kLower, kAway };  // kAway: further from neutral, either way

/// Which rows count (docs/reference/metrics.md section 0).
enum class Population {
  kAllRows,     // all T rows of a prompt
  kScoredRows,  // those with a given next token, at most T - 1
};

struct MetricDef {
  std::string_view name;          // key in report.json
  std::string_view title;         // for people
  std::string_view unit;          // "nat", "logit", "share", "" for plain numbers
  std::string_view meaning;       // one sentence for the report
  std::optional<double> neutral;  // of a lane against itself; nothing for descriptive numbers
  Worse worse = Worse::kHigher;
  Sign sign = Sign::kNonNegative;
  Population population = Population::kAllRows;
  bool needs_base = false;
  double (*value)(const PairRow&, const MetricContext&) = nullptr;  // of a finite row
};

/// In the order of the report.
std::span<const MetricDef> metric_table();

/// Throws an internal Error for an unknown name.
const MetricDef& metric_by_name(std::string_view name);

/// True where the row's value exists: the lanes it needs are finite and, for likelihoods, a token
/// follows.
bool metric_applies(const MetricDef& metric, const PairRow& row);

/// How bad a value is: larger is worse, 0 is neutral.  Not comparable between metrics.
double badness(const MetricDef& metric, double value);

/// A changed first token, and no near tie.
bool is_real_flip(const PairRow& row, double flip_margin);

}  // namespace mg
