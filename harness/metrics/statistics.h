// Estimates with intervals where the prompt, not the token, is the unit of sampling
// (docs/reference/metrics.md section 3). Everything here is a function of one sum per prompt; rows
// and models are unknown.  Tested in tests/metrics/statistics_test.cc; the coverage of the
// intervals in tests/metrics/coverage_test.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "harness/result/metric.h"
#include "kernels/core/parallel.h"

namespace mg {

/// Below this many prompts no interval is given.
inline constexpr std::int64_t kFewestClusters = 5;
/// From this many on the bootstrap is used; below, t intervals.
inline constexpr std::int64_t kBootstrapClusters = 20;
inline constexpr std::int64_t kDefaultReplicates = 10'000;
inline constexpr std::uint64_t kDefaultSeed = 20'240'731;

/// One row of sums per prompt, row-major: values[cluster * columns + column].
struct ClusterTable {
  std::int64_t clusters = 0;
  std::int64_t columns = 0;
  std::vector<double> values;

  ClusterTable() = default;
  ClusterTable(std::int64_t clusters, std::int64_t columns);
  std::span<double> row(std::int64_t cluster);
  std::span<const double> row(std::int64_t cluster) const;
  /// Column sums over all clusters, in order.
  std::vector<double> totals() const;
};

/// How to draw: replicate r is the same whatever the number of threads.
struct BootstrapPlan {
  std::int64_t replicates = kDefaultReplicates;
  std::uint64_t seed = kDefaultSeed;
};

/// The column sums of every replicate: `replicates` rows of clusters drawn with replacement.
ClusterTable bootstrap_totals(const ClusterTable& table, const BootstrapPlan& plan,
                              ThreadPool& pool);

/// What kind of number a statistic is; decides the interval below 20 prompts and its bounds.
enum class Sign {
  kSigned,       // t interval
  kNonNegative,  // t interval on the log scale
  kShare,        // in [0, 1]; no interval of width zero from a share that never varied
};

struct Estimate {
  double value = 0.0;
  std::optional<double> se;  // clustered by prompt
  std::optional<Interval> ci95;
  std::optional<Interval> ci90;  // its ends are the one-sided 95 % bounds that gates use
  IntervalMethod method = IntervalMethod::kNone;
};

/// A statistic of summed columns, e.g. the ratio of two of them; NaN where it is undefined.
using Statistic = std::function<double(std::span<const double> totals)>;

/// SE of the pooled mean sum/count:  sqrt( g/(g-1) sum_c (S_c - n_c mean)^2 ) / N.  Needs 2 prompts
/// with rows.
std::optional<double> clustered_se(std::span<const double> sums, std::span<const double> counts);

/// Pooled mean of column `sum` over column `count`, with an interval.  `replicates` is
/// bootstrap_totals() of the same table, or null for intervals without bootstrap (t).
std::optional<Estimate> estimate_mean(const ClusterTable& table, std::int64_t sum,
                                      std::int64_t count, Sign sign,
                                      const ClusterTable* replicates);

/// Any statistic of the totals; SE by the jackknife over prompts.  Nothing where the statistic is
/// undefined.
std::optional<Estimate> estimate_statistic(const ClusterTable& table, const Statistic& statistic,
                                           Sign sign, const ClusterTable* replicates);

/// Bias-corrected and accelerated interval (Efron 1987) from replicates and leave-one-out values of
/// a statistic. `level` is the two-sided coverage, 0.95.  Values that are not finite are left out;
/// nothing if none is left.
std::optional<Interval> bca_interval(double value, std::vector<double> replicates,
                                     std::span<const double> leave_one_out, double level);

/// Interval of a pooled quantile by the cluster bootstrap (plain percentiles of the replicates: the
/// jackknife that BCa needs is not consistent for quantiles).  `values` and `cluster` run over
/// rows; cluster < clusters.
std::optional<Interval> quantile_interval(std::span<const double> values,
                                          std::span<const std::int32_t> cluster,
                                          std::int64_t clusters, double q, double level,
                                          const BootstrapPlan& plan, ThreadPool& pool);

}  // namespace mg
