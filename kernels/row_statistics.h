// Statistics of rows where they lie, for backends whose memory the host cannot read for nothing: a
// few numbers per row come back instead of the rows.  An optional family: Backend::row_statistics()
// is null where read() costs nothing (cpu).  The contract is kernels/contract/README.md's, the
// suite kernels/contract/conformance's, the oracle kernels/reference's.
//
// Sums are in double, in an order that depends on a row's length alone: the same bits for any split
// of the rows into calls.  Equal rows give exactly 0 in every difference and divergence.
// Not for: what the numbers mean (harness/metrics, harness/lanes).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/core/row_sums.h"

namespace mg {

/// Logits of the same rows of several lanes.
struct LogitSweep {
  std::span<const Mat> lanes;                // [rows, at least `vocabulary`] each
  std::int64_t vocabulary = 0;               // entries [0, vocabulary) of each row are looked at
  std::span<const LanePair> pairs;           // indices into `lanes`
  std::span<const std::int32_t> next_token;  // [rows], below `vocabulary`; -1: none
};

/// |subject - reference|^2, |reference|^2, |subject|^2 of a row.  A norm is finite exactly where
/// its row is: squares of FP32 values do not overflow a double.
struct RowSquares {
  double difference = 0;
  double reference = 0;
  double subject = 0;
};

class RowStatistics {
 public:
  virtual ~RowStatistics() = default;

  /// Whether the calls below take `x`: it lies in this backend's memory, or in that of another
  /// backend on the same device.
  virtual bool reaches(const Mat& x) const = 0;

  /// Both sweeps.  lanes: [lane * rows + row], pairs: [pair * rows + row].
  virtual void sweep_logits(const LogitSweep& sweep, std::span<LaneSweep> lanes,
                            std::span<PairSweep> pairs) = 0;

  /// Row i of `subject` against row reference_rows[i] of `reference`, or row i where
  /// `reference_rows` is empty; out: one for each row of `subject`.
  virtual void squares(Mat subject, Mat reference, std::span<const std::int32_t> reference_rows,
                       std::span<RowSquares> out) = 0;
};

}  // namespace mg
