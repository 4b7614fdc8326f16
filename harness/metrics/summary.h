// From rows to the comparison of a pair of lanes: means with intervals, percentiles, ratios,
// slices, worst places. Not for: judging (harness/verdict).  Texts of tokens and layers' drift are
// filled in by harness/run.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "harness/metrics/accumulator.h"
#include "harness/metrics/metric_table.h"
#include "harness/metrics/statistics.h"
#include "harness/result/comparison.h"

namespace mg {

/// Positions [begin, end) of one prompt.
struct RowRange {
  std::int64_t prompt = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// A named set of rows: a tag, a span, special tokens.  Ranges may overlap; a row counts once.
struct SliceSpec {
  std::string name;
  std::vector<RowRange> ranges;
};

struct SummaryOptions {
  MetricContext context;
  BootstrapPlan bootstrap;
  std::vector<SliceSpec> slices;
  std::int64_t evidence = 12;  // cards; 0: none
};

/// Summaries of every metric over the given rows (rising).  `intervals`: bootstrap where the sample
/// allows; otherwise t.
std::vector<NamedMetric> summarise_metrics(const MetricAccumulator& rows, int pair,
                                           std::span<const std::int64_t> selected,
                                           const SummaryOptions& options, bool intervals,
                                           ThreadPool& pool);

/// Merge error ratio, slope, R^2 and perplexity ratio; numerator and denominator are drawn
/// together.
Ratios summarise_ratios(const MetricAccumulator& rows, int pair, const BootstrapPlan& plan,
                        ThreadPool& pool);

/// The whole comparison of one pair.  The accumulator must be complete.
Comparison summarise(const MetricAccumulator& rows, int pair, const SummaryOptions& options,
                     ThreadPool& pool);

/// Cards of the rows most worth a look: not finite first, then real flips, largest KL, largest
/// change of likelihood.
std::vector<Evidence> select_evidence(const MetricAccumulator& rows, int pair,
                                      const MetricContext& context, std::int64_t count);

}  // namespace mg
