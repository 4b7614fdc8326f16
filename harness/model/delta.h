// D, what a right merge adds to a weight: s*B*A and its relatives (docs/reference/failures.md,
// "Expected delta D"), in double, a block of rows at a time so that no whole matrix is ever
// expanded. Used by the audit, `mergegauge merge` and the re-merge lane, which therefore agree by
// construction. Not for: rounding (kernels/core/rounding.h).  Tested in tests/model/delta_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "harness/model/attach.h"
#include "harness/model/low_rank.h"
#include "kernels/core/dtype.h"
#include "kernels/core/tensor_view.h"

namespace mg {

class DeltaRows {
 public:
  /// Prepares A or B in double (and DoRA's norms, one pass over the base).  `attached` and the
  /// views behind it must outlive this.  With `adapter_cast`, A, B and the magnitude are first
  /// rounded to that dtype, as tools do that keep the adapter in 16 bits.
  explicit DeltaRows(const AttachedDelta& attached, std::optional<DType> adapter_cast = {});

  /// What lora_bias adds to `attached.target_bias`: s*b as rows of one column.
  static DeltaRows for_bias(const AttachedDelta& attached, std::optional<DType> adapter_cast = {});

  std::int64_t rows() const {
    return rows_;
  }  // of the stored weight, experts stacked: [rows, cols]
  std::int64_t cols() const { return cols_; }
  std::int64_t rank() const { return rank_; }
  double scale() const { return scale_; }
  bool has_dora() const { return !magnitude_.empty(); }
  /// DoRA's norms run along the stored rows (one per row), not along the columns.
  bool dora_by_row() const { return !transposed_; }

  /// Writes rows [begin, end) of D in the stored weight's layout, `scale` times the adapter's own
  /// scale (1 = right; other values let the audit test wrong scales), to
  /// out[(end-begin) * cols].  Thread-safe.
  void compute(std::int64_t begin, std::int64_t end, double* out, double scale = 1.0) const;

  /// The same without DoRA: scale*s*B*A alone.
  void product(std::int64_t begin, std::int64_t end, double* out, double scale = 1.0) const;

  /// The bits of compute() for one element of a pair that factors() gives.
  double at(std::int64_t row, std::int64_t col) const;

  /// D as scale() * left * right, in the order of sums of kernels/merge_statistics.h.
  struct Factors {
    std::vector<double> left;  // [rows, rank]
    const PackedRight* right = nullptr;
  };
  /// Nothing with DoRA or several experts, whose D is more than that.
  std::optional<Factors> factors() const;

  /// |scale*s| * sum_k |b_k||a_k| of each element: what the rounding error of any summation order
  /// is proportional to.
  void product_magnitude(std::int64_t begin, std::int64_t end, double* out,
                         double scale = 1.0) const;
  /// The same for one element.
  double product_magnitude_at(std::int64_t row, std::int64_t col) const;

  /// DoRA: the trained magnitude m, and the norm |W + scale*s*B*A|, of stored row or column `i`.
  double dora_magnitude(std::int64_t i) const { return magnitude_[static_cast<std::size_t>(i)]; }
  double dora_norm(std::int64_t i, double scale = 1.0) const;
  /// Bound of the relative error of m/|W+D| when all of it is computed in FP32, in any order of
  /// summation.
  double dora_factor_error(std::int64_t i) const;

 private:
  DeltaRows() = default;
  void read_layout(const AttachedDelta& attached);
  void prepare_dora(const TensorView& magnitude);
  std::vector<double> left_rows(std::int64_t begin, std::int64_t end) const;
  PackedRight right_factor(std::int64_t expert) const;
  template <typename Body>
  void for_each_expert(std::int64_t begin, std::int64_t end, const Body& body) const;
  void read(const TensorView& view, std::int64_t offset, std::int64_t n, double* out) const;

  TensorView a_;
  TensorView b_;
  TensorView weight_;
  std::optional<DType> cast_;
  bool transposed_ = false;
  std::int64_t rank_ = 0;
  double scale_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  std::int64_t experts_ = 1;       // pairs stacked in A and B
  std::int64_t expert_rows_ = 0;   // rows of one expert's D
  std::int64_t first_row_ = 0;     // of the stored tensor within the stacked D
  PackedRight right_;              // of the only expert; empty with several, built on the way
  std::vector<double> magnitude_;  // DoRA's m
  std::vector<double> norm_;       // |W + s*B*A|, by row or by column
  // For other scales k: |W + k*D|^2 = |W|^2 + 2k<W,D> + k^2|D|^2, three sums each.
  std::vector<double> weight_square_;
  std::vector<double> weight_product_;
  std::vector<double> product_square_;
  std::vector<double> magnitude_square_;  // sum of (|s| * sum|b||a|)^2, by row or by column
};

}  // namespace mg
