#include <cmath>
#include <optional>
#include <span>

#include "harness/metrics/summary.h"

namespace mg {
namespace {

// Sums for the ratios, per prompt; only rows where all lanes that a ratio needs are finite.
enum RatioColumn : std::size_t {
  kKl,
  kKlBase,
  kXx,
  kXy,
  kYy,
  kDeltaNll,
  kScoredRows,
  kRatioColumns
};

ClusterTable ratio_sums(const MetricAccumulator& rows, int pair) {
  const RowLayout& layout = rows.layout();
  ClusterTable table(static_cast<std::int64_t>(layout.prompts().size()), kRatioColumns);
  const std::span<const PairRow> pair_rows = rows.pair_rows(pair);
  for (std::int64_t row = 0; row < layout.rows(); ++row) {
    const PairRow& values = pair_rows[static_cast<std::size_t>(row)];
    const std::span<double> sums = table.row(layout.prompt_of(row));
    if (values.finite && values.base_finite) {
      sums[kKl] += values.kl;
      sums[kKlBase] += values.kl_base;
      sums[kXx] += values.slope_xx;
      sums[kXy] += values.slope_xy;
      sums[kYy] += values.slope_yy;
    }
    if (values.finite && !std::isnan(values.delta_nll)) {
      sums[kDeltaNll] += values.delta_nll;
      sums[kScoredRows] += 1.0;
    }
  }
  return table;
}

Ratio as_ratio(const std::optional<Estimate>& estimate) {
  Ratio ratio;
  if (estimate) {
    ratio.value = estimate->value;
    ratio.ci95 = estimate->ci95;
    ratio.ci90 = estimate->ci90;
    ratio.ci_method = estimate->method;
    ratio.se = estimate->se;
  }
  return ratio;
}

}  // namespace

Ratios summarise_ratios(const MetricAccumulator& rows, int pair, const BootstrapPlan& plan,
                        ThreadPool& pool) {
  using Totals = std::span<const double>;
  const ClusterTable table = ratio_sums(rows, pair);
  std::optional<ClusterTable> drawn;
  if (table.clusters >= kBootstrapClusters) {
    drawn = bootstrap_totals(table, plan, pool);
  }
  const ClusterTable* replicates = drawn ? &*drawn : nullptr;
  const auto estimate = [&](Sign sign, const Statistic& statistic) {
    return as_ratio(estimate_statistic(table, statistic, sign, replicates));
  };
  Ratios ratios;
  ratios.mer = estimate(Sign::kNonNegative, [](Totals sums) { return sums[kKl] / sums[kKlBase]; });
  ratios.slope = estimate(Sign::kSigned, [](Totals sums) { return sums[kXy] / sums[kXx]; });
  ratios.r2 = estimate(
      Sign::kSigned, [](Totals sums) { return (sums[kXy] / sums[kXx]) * (sums[kXy] / sums[kYy]); });
  ratios.perplexity_ratio = estimate(Sign::kNonNegative, [](Totals sums) {
    return std::exp(sums[kDeltaNll] / sums[kScoredRows]);
  });
  return ratios;
}

}  // namespace mg
