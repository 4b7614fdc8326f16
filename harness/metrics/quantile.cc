#include "harness/metrics/quantile.h"

#include <cmath>

#include "kernels/core/error.h"

namespace mg {

double quantile_of_sorted(std::span<const double> sorted, double q) {
  MG_CHECK(!sorted.empty() && q >= 0.0 && q <= 1.0, "a quantile of something");
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(position));
  if (below + 1 >= sorted.size()) {
    return sorted.back();
  }
  const double weight = position - static_cast<double>(below);
  return sorted[below] + weight * (sorted[below + 1] - sorted[below]);
}

bool quantile_allowed(std::int64_t rows, double q) {
  // 1 - 0.999 is 0.0010000000000000009: rounding must not move the border.
  return std::round(static_cast<double>(rows) * (1.0 - q) * 1e6) >= 100.0 * 1e6;
}

std::optional<double> guarded_quantile(std::span<const double> sorted, double q) {
  if (sorted.empty() || !quantile_allowed(static_cast<std::int64_t>(sorted.size()), q)) {
    return std::nullopt;
  }
  return quantile_of_sorted(sorted, q);
}

}  // namespace mg
