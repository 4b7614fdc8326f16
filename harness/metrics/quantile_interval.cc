#include <algorithm>
#include <cmath>
#include <numeric>

#include "harness/metrics/quantile.h"
#include "harness/metrics/random.h"
#include "harness/metrics/statistics.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

// Rows from the largest value down, so that a replicate's upper quantile is found after few steps.
struct FallingRows {
  std::vector<double> value;
  std::vector<std::int32_t> cluster;
};

FallingRows sort_falling(std::span<const double> values, std::span<const std::int32_t> cluster) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return values[i] > values[j]; });
  FallingRows rows;
  for (const std::size_t i : order) {
    rows.value.push_back(values[i]);
    rows.cluster.push_back(cluster[i]);
  }
  return rows;
}

// The type-7 quantile of the pool in which every row of cluster c appears times[c] times.
double weighted_quantile(const FallingRows& rows, std::span<const std::int64_t> times,
                         std::int64_t total, double q) {
  // Counted from the top: positions total-1 (smallest) .. 0 (largest).
  const double from_top = (1.0 - q) * static_cast<double>(total - 1);
  const auto upper = static_cast<std::int64_t>(std::floor(from_top));
  const double weight = from_top - static_cast<double>(upper);
  std::int64_t seen = 0;
  double at_upper = rows.value.back();
  bool have_upper = false;
  for (std::size_t i = 0; i < rows.value.size(); ++i) {
    seen += times[static_cast<std::size_t>(rows.cluster[i])];
    if (!have_upper && seen > upper) {
      at_upper = rows.value[i];
      have_upper = true;
    }
    if (seen > upper + 1) {
      return at_upper + weight * (rows.value[i] - at_upper);
    }
  }
  return at_upper;
}

}  // namespace

std::optional<Interval> quantile_interval(std::span<const double> values,
                                          std::span<const std::int32_t> cluster,
                                          std::int64_t clusters, double q, double level,
                                          const BootstrapPlan& plan, ThreadPool& pool) {
  MG_CHECK(values.size() == cluster.size(), "every row has its cluster");
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(clusters), 0);
  for (const std::int32_t c : cluster) {
    MG_CHECK(c >= 0 && c < clusters, "a row's cluster is one of those counted");
    ++sizes[static_cast<std::size_t>(c)];
  }
  if (clusters < kBootstrapClusters || values.empty()) {
    return std::nullopt;
  }
  const FallingRows rows = sort_falling(values, cluster);
  std::vector<double> drawn(static_cast<std::size_t>(plan.replicates));
  constexpr std::int64_t kGrain = 64;
  pool.for_chunks(plan.replicates, kGrain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> times(sizes.size());
    for (std::int64_t replicate = begin; replicate < end; ++replicate) {
      SplitMix64 random = replicate_stream(plan.seed, replicate);
      std::fill(times.begin(), times.end(), 0);
      std::int64_t total = 0;
      for (std::int64_t draw = 0; draw < clusters; ++draw) {
        const auto c = static_cast<std::size_t>(random.below(clusters));
        ++times[c];
        total += sizes[c];
      }
      drawn[static_cast<std::size_t>(replicate)] =
          total > 0 ? weighted_quantile(rows, times, total, q) : values[0];
    }
  });
  std::sort(drawn.begin(), drawn.end());
  return Interval{quantile_of_sorted(drawn, 0.5 - 0.5 * level),
                  quantile_of_sorted(drawn, 0.5 + 0.5 * level)};
}

}  // namespace mg
