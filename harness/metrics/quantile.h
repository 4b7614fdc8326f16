// Percentiles of pooled rows, linear-interpolated as NumPy's default does (Hyndman and Fan's type
// 7), and which of them a sample is large enough for.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace mg {

/// `sorted` rising, not empty, no NaN; 0 <= q <= 1.
double quantile_of_sorted(std::span<const double> sorted, double q);

/// A quantile is printed only if 100 rows lie beyond it: p99 from 10,000 rows on, p99.9 from
/// 100,000.
bool quantile_allowed(std::int64_t rows, double q);

/// The quantile, or nothing where the sample is too small for it.
std::optional<double> guarded_quantile(std::span<const double> sorted, double q);

}  // namespace mg
