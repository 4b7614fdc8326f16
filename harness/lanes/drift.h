// Differences of hidden states, row by row, summed in an order that does not depend on chunks or
// threads; on the device, where the rows lie on one that can (kernels/row_statistics.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "harness/lanes/batch.h"
#include "kernels/backend.h"
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

/// Rows of hidden states in a backend's memory.
struct PlacedRows {
  Backend* backend = nullptr;
  Mat rows;
};

/// The two above for rows that lie in backends' memory: where both lie on a device with statistics
/// of its own, none of them is read.
class HiddenStates {
 public:
  explicit HiddenStates(ThreadPool& pool) : pool_(pool) {}

  /// Row i of the subject beside row reference_rows[i] of the reference; empty: beside row i.
  RowDrift drift(const PlacedRows& subject, const PlacedRows& reference,
                 std::span<const std::int32_t> reference_rows = {});
  std::optional<std::pair<std::int64_t, std::int64_t>> non_finite(const PlacedRows& x);

 private:
  ThreadPool& pool_;
  std::vector<float> subject_staging_;
  std::vector<float> reference_staging_;
};

}  // namespace mg
