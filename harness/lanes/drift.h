// Differences of hidden states, row by row, summed in an order that does not depend on chunks or
// threads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "harness/lanes/batch.h"
#include "kernels/core/parallel.h"

namespace mg {

/// Squared differences and squared norms of each row.
struct RowDrift {
  std::vector<double> difference;  // |subject - reference|^2, [rows]
  std::vector<double> reference;   // |reference|^2, [rows]

  /// sqrt(sum difference / sum reference) over rows [begin, begin + count); NaN stays NaN.
  double relative(std::int64_t begin, std::int64_t count) const;
};

/// subject, reference: [rows, width] row-major.
RowDrift row_drift(ThreadPool& pool, std::span<const float> subject,
                   std::span<const float> reference, std::int64_t width);

/// First row with a NaN or infinity and how many such rows, or nothing.
std::optional<std::pair<std::int64_t, std::int64_t>> non_finite_rows(ThreadPool& pool,
                                                                     std::span<const float> values,
                                                                     std::int64_t width);

}  // namespace mg
