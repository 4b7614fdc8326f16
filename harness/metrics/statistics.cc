#include "harness/metrics/statistics.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "harness/metrics/distributions.h"
#include "harness/metrics/equivalence.h"
#include "harness/metrics/quantile.h"
#include "harness/metrics/random.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

using Columns = Eigen::Map<const Eigen::ArrayXd>;

Columns as_array(std::span<const double> values) {
  return {values.data(), static_cast<Eigen::Index>(values.size())};
}

// Totals without cluster c, for every c.  Summed afresh: total minus one cluster would cancel.
ClusterTable leave_one_out_totals(const ClusterTable& table) {
  const auto columns = static_cast<Eigen::Index>(table.columns);
  ClusterTable out(table.clusters, table.columns);
  // before[c] = sum of clusters 0..c-1, then joined with the sum of those after c.
  Eigen::ArrayXd before = Eigen::ArrayXd::Zero(columns);
  for (std::int64_t c = 0; c < table.clusters; ++c) {
    std::copy(before.begin(), before.end(), out.row(c).begin());
    before += as_array(table.row(c));
  }
  Eigen::ArrayXd after = Eigen::ArrayXd::Zero(columns);
  for (std::int64_t c = table.clusters - 1; c >= 0; --c) {
    Eigen::Map<Eigen::ArrayXd>(out.row(c).data(), columns) += after;
    after += as_array(table.row(c));
  }
  return out;
}

std::vector<double> evaluate(const Statistic& statistic, const ClusterTable& totals) {
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(totals.clusters));
  for (std::int64_t i = 0; i < totals.clusters; ++i) {
    values.push_back(statistic(totals.row(i)));
  }
  return values;
}

Interval t_interval(double value, double se, double degrees, double level, Sign sign) {
  const double t = student_t_quantile(0.5 + 0.5 * level, degrees);
  if (sign == Sign::kNonNegative) {
    // Delta method: the SE of ln x is SE(x) / x.
    const double factor = std::exp(t * se / value);
    return {value / factor, value * factor};
  }
  Interval interval{value - t * se, value + t * se};
  if (sign == Sign::kShare) {
    interval = {std::max(0.0, interval.lower), std::min(1.0, interval.upper)};
  }
  return interval;
}

// A share that never varied: no event in `rows`, so the upper 95 % bound of the event's share is 3
// / rows.
void rule_of_three(Estimate& estimate, double rows) {
  const double width = rule_of_three_bound(rows);
  const bool at_one = estimate.value >= 0.5;
  const Interval interval = at_one ? Interval{1.0 - width, 1.0} : Interval{0.0, width};
  estimate.ci95 = interval;
  estimate.ci90 = interval;
  estimate.method = IntervalMethod::kRuleOfThree;
}

struct Sample {
  std::int64_t clusters = 0;  // that have rows
  double rows = 0.0;
};

void add_interval(Estimate& estimate, const Sample& sample, Sign sign,
                  const std::function<std::vector<double>()>& replicates,
                  const std::function<std::vector<double>()>& leave_one_out) {
  if (sample.clusters < kFewestClusters || !estimate.se) {
    return;
  }
  const bool constant = *estimate.se == 0.0;
  if (sign == Sign::kShare && constant && (estimate.value == 0.0 || estimate.value == 1.0)) {
    rule_of_three(estimate, sample.rows);
    return;
  }
  if (constant) {
    estimate.ci95 = Interval{estimate.value, estimate.value};
    estimate.ci90 = estimate.ci95;
    estimate.method = IntervalMethod::kExact;
    return;
  }
  if (sample.clusters >= kBootstrapClusters && replicates) {
    const std::vector<double> drawn = replicates();
    const std::vector<double> left_out = leave_one_out();
    estimate.ci95 = bca_interval(estimate.value, drawn, left_out, 0.95);
    estimate.ci90 = bca_interval(estimate.value, drawn, left_out, 0.90);
    estimate.method = estimate.ci95 ? IntervalMethod::kBca : IntervalMethod::kNone;
    return;
  }
  const auto degrees = static_cast<double>(sample.clusters - 1);
  estimate.ci95 = t_interval(estimate.value, *estimate.se, degrees, 0.95, sign);
  estimate.ci90 = t_interval(estimate.value, *estimate.se, degrees, 0.90, sign);
  estimate.method = sign == Sign::kNonNegative ? IntervalMethod::kLogT : IntervalMethod::kT;
}

std::vector<double> column(const ClusterTable& table, std::int64_t index) {
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(table.clusters));
  for (std::int64_t c = 0; c < table.clusters; ++c) {
    values.push_back(table.row(c)[static_cast<std::size_t>(index)]);
  }
  return values;
}

}  // namespace

ClusterTable::ClusterTable(std::int64_t cluster_count, std::int64_t column_count)
    : clusters(cluster_count),
      columns(column_count),
      values(static_cast<std::size_t>(cluster_count * column_count), 0.0) {}

std::span<double> ClusterTable::row(std::int64_t cluster) {
  return {values.data() + cluster * columns, static_cast<std::size_t>(columns)};
}

std::span<const double> ClusterTable::row(std::int64_t cluster) const {
  return {values.data() + cluster * columns, static_cast<std::size_t>(columns)};
}

std::vector<double> ClusterTable::totals() const {
  Eigen::ArrayXd sums = Eigen::ArrayXd::Zero(static_cast<Eigen::Index>(columns));
  for (std::int64_t c = 0; c < clusters; ++c) {
    sums += as_array(row(c));
  }
  return {sums.begin(), sums.end()};
}

ClusterTable bootstrap_totals(const ClusterTable& table, const BootstrapPlan& plan,
                              ThreadPool& pool) {
  ClusterTable out(plan.replicates, table.columns);
  const auto columns = static_cast<Eigen::Index>(table.columns);
  constexpr std::int64_t kGrain = 64;
  pool.for_chunks(plan.replicates, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t replicate = begin; replicate < end; ++replicate) {
      SplitMix64 random = replicate_stream(plan.seed, replicate);
      Eigen::Map<Eigen::ArrayXd> sums(out.row(replicate).data(), columns);
      for (std::int64_t draw = 0; draw < table.clusters; ++draw) {
        sums += as_array(table.row(random.below(table.clusters)));
      }
    }
  });
  return out;
}

std::optional<double> clustered_se(std::span<const double> sums, std::span<const double> counts) {
  const double rows = as_array(counts).sum();
  const auto clusters = static_cast<double>((as_array(counts) > 0.0).count());
  if (!(clusters >= 2.0)) {
    return std::nullopt;
  }
  const double mean = as_array(sums).sum() / rows;
  const double squares = (as_array(sums) - as_array(counts) * mean).square().sum();
  return std::sqrt(clusters / (clusters - 1.0) * squares) / rows;
}

std::optional<Estimate> estimate_mean(const ClusterTable& table, std::int64_t sum,
                                      std::int64_t count, Sign sign,
                                      const ClusterTable* replicates) {
  const std::vector<double> sums = column(table, sum);
  const std::vector<double> counts = column(table, count);
  const double rows = as_array(counts).sum();
  if (!(rows > 0.0)) {
    return std::nullopt;
  }
  const Statistic ratio = [sum, count](std::span<const double> totals) {
    return totals[static_cast<std::size_t>(sum)] / totals[static_cast<std::size_t>(count)];
  };
  Estimate estimate;
  estimate.value = as_array(sums).sum() / rows;
  estimate.se = clustered_se(sums, counts);
  const bool all_equal =
      std::adjacent_find(sums.begin(), sums.end(), std::not_equal_to<>()) == sums.end() &&
      std::adjacent_find(counts.begin(), counts.end(), std::not_equal_to<>()) == counts.end();
  if (estimate.se && all_equal) {
    estimate.se = 0.0;  // exactly, where the formula leaves a rounding of the mean
  }
  std::function<std::vector<double>()> drawn;
  if (replicates != nullptr) {
    drawn = [&] { return evaluate(ratio, *replicates); };
  }
  const auto clusters = static_cast<std::int64_t>((as_array(counts) > 0.0).count());
  add_interval(estimate, {clusters, rows}, sign, drawn,
               [&] { return evaluate(ratio, leave_one_out_totals(table)); });
  return estimate;
}

std::optional<Estimate> estimate_statistic(const ClusterTable& table, const Statistic& statistic,
                                           Sign sign, const ClusterTable* replicates) {
  Estimate estimate;
  estimate.value = statistic(table.totals());
  if (!std::isfinite(estimate.value)) {
    return std::nullopt;
  }
  const std::vector<double> left_out = evaluate(statistic, leave_one_out_totals(table));
  const auto clusters = static_cast<double>(table.clusters);
  if (table.clusters >= 2) {
    const double mean = as_array(left_out).mean();
    estimate.se =
        std::sqrt((clusters - 1.0) / clusters * (as_array(left_out) - mean).square().sum());
    if (!std::isfinite(*estimate.se)) {
      estimate.se.reset();  // one prompt carries the whole denominator: no interval
    }
  }
  std::function<std::vector<double>()> drawn;
  if (replicates != nullptr) {
    drawn = [&] { return evaluate(statistic, *replicates); };
  }
  add_interval(estimate, {table.clusters, clusters}, sign, drawn, [&] { return left_out; });
  return estimate;
}

std::optional<Interval> bca_interval(double value, std::vector<double> replicates,
                                     std::span<const double> leave_one_out, double level) {
  std::erase_if(replicates, [](double v) { return !std::isfinite(v); });
  if (replicates.empty()) {
    return std::nullopt;
  }
  std::sort(replicates.begin(), replicates.end());
  const auto [first, last] = std::equal_range(replicates.begin(), replicates.end(), value);
  const auto B = static_cast<double>(replicates.size());
  // Replicates equal to the value count half, so that a statistic with few possible values is not
  // taken for biased.
  const double below =
      static_cast<double>(first - replicates.begin()) + 0.5 * static_cast<double>(last - first);
  const double z0 = normal_quantile(std::clamp(below / B, 0.5 / B, 1.0 - 0.5 / B));
  const double mean = as_array(leave_one_out).mean();
  const Eigen::ArrayXd deviations = mean - as_array(leave_one_out);
  const double squares = deviations.square().sum();
  const double acceleration =
      squares > 0.0 ? deviations.cube().sum() / (6.0 * squares * std::sqrt(squares)) : 0.0;
  const auto end = [&](double probability) {
    const double z = z0 + normal_quantile(probability);
    return quantile_of_sorted(replicates, normal_cdf(z0 + z / (1.0 - acceleration * z)));
  };
  return Interval{end(0.5 - 0.5 * level), end(0.5 + 0.5 * level)};
}

}  // namespace mg
