#include "harness/metrics/summary.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "harness/metrics/quantile.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

// The finite values of one metric over some rows, in row order.
struct Values {
  std::vector<double> value;
  std::vector<std::int32_t> prompt;
  std::vector<std::int64_t> row;
  std::int64_t non_finite = 0;
};

// True where the metric would have a value if all lanes were finite.
bool in_population(const MetricDef& metric, const MetricAccumulator& rows, int pair,
                   std::int64_t row) {
  const bool has_base = rows.pairs()[static_cast<std::size_t>(pair)].base >= 0;
  return (!metric.needs_base || has_base) &&
         (metric.population == Population::kAllRows || rows.layout().next_token(row) >= 0);
}

Values collect(const MetricDef& metric, const MetricAccumulator& rows, int pair,
               std::span<const std::int64_t> selected, const MetricContext& context) {
  const std::span<const PairRow> pair_rows = rows.pair_rows(pair);
  Values out;
  for (const std::int64_t row : selected) {
    if (!in_population(metric, rows, pair, row)) {
      continue;
    }
    const PairRow& pair_row = pair_rows[static_cast<std::size_t>(row)];
    const double value =
        metric_applies(metric, pair_row) ? metric.value(pair_row, context) : kAbsent;
    if (!std::isfinite(value)) {
      ++out.non_finite;
      continue;
    }
    out.value.push_back(value);
    out.prompt.push_back(static_cast<std::int32_t>(rows.layout().prompt_of(row)));
    out.row.push_back(row);
  }
  return out;
}

std::optional<std::int64_t> place_token(const MetricDef& metric, const PairRow& row) {
  if (metric.name == "max_abs") {
    return row.max_abs_token;
  }
  if (metric.name == "max_abs_centred") {
    return row.max_abs_centred_token;
  }
  return std::nullopt;
}

void add_order_statistics(const MetricDef& metric, const MetricAccumulator& rows, int pair,
                          const Values& values, MetricSummary& out) {
  if (values.value.empty()) {
    return;
  }
  std::vector<double> sorted = values.value;
  std::sort(sorted.begin(), sorted.end());
  out.p50 = quantile_of_sorted(sorted, 0.50);
  out.p90 = quantile_of_sorted(sorted, 0.90);
  out.p95 = quantile_of_sorted(sorted, 0.95);
  out.p99 = guarded_quantile(sorted, 0.99);
  out.p999 = guarded_quantile(sorted, 0.999);
  out.min = sorted.front();
  out.max = sorted.back();
  const auto worst = std::max_element(
      values.value.begin(), values.value.end(),
      [&](double left, double right) { return badness(metric, left) < badness(metric, right); });
  const std::int64_t row = values.row[static_cast<std::size_t>(worst - values.value.begin())];
  const RowLayout& layout = rows.layout();
  out.worst = Place{layout.prompts()[static_cast<std::size_t>(layout.prompt_of(row))].id,
                    layout.position_of(row),
                    place_token(metric, rows.pair_rows(pair)[static_cast<std::size_t>(row)])};
}

// Columns 2m and 2m+1: sum and count of metric m, per prompt.  Prompts without a row in the
// selection get no cluster.
struct MetricSums {
  ClusterTable table;
  std::vector<Values> values;  // per metric
};

MetricSums sum_by_prompt(const MetricAccumulator& rows, int pair,
                         std::span<const std::int64_t> selected, const MetricContext& context) {
  std::vector<std::int64_t> cluster_of(rows.layout().prompts().size(), -1);
  std::int64_t clusters = 0;
  for (const std::int64_t row : selected) {
    std::int64_t& cluster = cluster_of[static_cast<std::size_t>(rows.layout().prompt_of(row))];
    if (cluster < 0) {
      cluster = clusters++;
    }
  }
  const auto metrics = metric_table();
  MetricSums sums;
  sums.table = ClusterTable(clusters, 2 * static_cast<std::int64_t>(metrics.size()));
  for (std::size_t m = 0; m < metrics.size(); ++m) {
    sums.values.push_back(collect(metrics[m], rows, pair, selected, context));
    Values& values = sums.values.back();
    for (std::size_t i = 0; i < values.value.size(); ++i) {
      const std::int64_t cluster = cluster_of[static_cast<std::size_t>(values.prompt[i])];
      values.prompt[i] = static_cast<std::int32_t>(cluster);
      sums.table.row(cluster)[2 * m] += values.value[i];
      sums.table.row(cluster)[2 * m + 1] += 1.0;
    }
  }
  return sums;
}

std::int64_t clusters_with_rows(const ClusterTable& table, std::size_t count_column) {
  std::int64_t clusters = 0;
  for (std::int64_t c = 0; c < table.clusters; ++c) {
    clusters += table.row(c)[count_column] > 0.0 ? 1 : 0;
  }
  return clusters;
}

std::optional<ClusterTable> draw(const ClusterTable& table, const SummaryOptions& options,
                                 bool intervals, ThreadPool& pool) {
  if (!intervals || table.clusters < kBootstrapClusters) {
    return std::nullopt;
  }
  return bootstrap_totals(table, options.bootstrap, pool);
}

}  // namespace

std::vector<NamedMetric> summarise_metrics(const MetricAccumulator& rows, int pair,
                                           std::span<const std::int64_t> selected,
                                           const SummaryOptions& options, bool intervals,
                                           ThreadPool& pool) {
  const auto metrics = metric_table();
  const MetricSums sums = sum_by_prompt(rows, pair, selected, options.context);
  const std::optional<ClusterTable> drawn = draw(sums.table, options, intervals, pool);
  std::vector<NamedMetric> out;
  for (std::size_t m = 0; m < metrics.size(); ++m) {
    const MetricDef& metric = metrics[m];
    const Values& values = sums.values[m];
    if (values.value.empty() && values.non_finite == 0) {
      continue;  // no row of this kind: no base, no next token
    }
    MetricSummary summary;
    summary.count = static_cast<std::int64_t>(values.value.size());
    summary.non_finite = values.non_finite;
    summary.prompts = clusters_with_rows(sums.table, 2 * m + 1);
    const auto column = static_cast<std::int64_t>(2 * m);
    if (const auto estimate =
            estimate_mean(sums.table, column, column + 1, metric.sign, drawn ? &*drawn : nullptr)) {
      summary.mean = estimate->value;
      summary.se = estimate->se;
      summary.ci95 = estimate->ci95;
      summary.ci90 = estimate->ci90;
      summary.ci_method = estimate->method;
    }
    add_order_statistics(metric, rows, pair, values, summary);
    if (intervals && summary.p99 && metric.name == "kl") {
      summary.p99_ci95 = quantile_interval(values.value, values.prompt, sums.table.clusters, 0.99,
                                           0.95, options.bootstrap, pool);
    }
    out.push_back({std::string(metric.name), std::move(summary)});
  }
  return out;
}

}  // namespace mg
