// D, what a right merge adds to a weight: s*B*A and its relatives (docs/reference/failures.md, "Expected delta D"),
// in double, a block of rows at a time so that no whole matrix is ever expanded.
// Used by the audit, `mergegauge merge` and the re-merge lane, which therefore agree by construction.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/model/attach.h"
#include "kernels/core/tensor_view.h"

namespace mg {

class DeltaRows {
 public:
  /// Prepares A and B in double (and DoRA's row norms, one pass over `base`).  `attached` and the views behind it
  /// must outlive this.
  explicit DeltaRows(const AttachedDelta& attached);

  std::int64_t rows() const;  // of the stored weight, experts stacked: [rows, cols]
  std::int64_t cols() const;
  /// Writes rows [begin, end) of D in the stored weight's layout, `scale` times the adapter's own scale
  /// (1 = right; other values let the audit test wrong scales), to out[(end-begin) * cols].  Thread-safe.
  void compute(std::int64_t begin, std::int64_t end, double* out, double scale = 1.0) const;

 private:
  const AttachedDelta* attached_;
  std::vector<double> a_;
  std::vector<double> b_;
  std::vector<double> dora_;
};

}  // namespace mg
