// The one full pass over a target tensor: merged against base + D and against our own rounded
// re-merge, all sums of the audit's figures, and every element that one rounding does not explain.
// Sums are taken per block in a fixed order and added up in the order of blocks: the same bits for
// any number of threads and any instruction set.  Not for: other recipes (explain.h) or judgement
// (diagnose.h). Tested in tests/audit/measure_test.cc.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "harness/audit/recipe.h"
#include "harness/model/delta.h"
#include "kernels/core/tensor_view.h"
#include "kernels/merge_statistics.h"

namespace mg {

/// A target as the arithmetic sees it.  Base and merged hold delta->rows() * delta->cols() elements
/// in one layout.
struct TargetViews {
  TensorView base;
  TensorView merged;
  const DeltaRows* delta = nullptr;
  // The base is decoded from codes: the dtype their library hands out (recipes_for()).
  std::optional<DType> dequantised = std::nullopt;
};

/// An element of interest: its flat index, what is stored there and what one rounding gives.
struct ElementSample {
  std::int64_t index = 0;
  double merged = 0;
  double expected = 0;
};

/// Figures of a target or of some of its rows; W base, M merged, D delta, P rounded re-merge.
struct TargetMeasure : MergeSums {
  static constexpr std::size_t kSamples = 8;
  static constexpr std::size_t kBuckets = 8;

  std::int64_t elements = 0;
  std::int64_t unexplained =
      0;                        // M differs from P by more than FP32 arithmetic in any order can do
  std::int64_t non_finite = 0;  // in merged
  std::int64_t unusable = 0;    // base, D or the expected value not finite
  std::int64_t overflow = 0;    // expected value too large for the merged dtype
  // Multiples of the adapter's own scale that every element allows, one rounding assumed; the
  // bounds cross where none does.  Not set with DoRA, whose norm moves with the scale.
  double scale_low = -kNoBound;
  double scale_high = kNoBound;
  // |M-P| in units of max(ulp(P), ulp(D)) of the merged dtype: equal, <= 1, 2, 4, 8, 16, 64, more.
  std::array<std::int64_t, kBuckets> ulp_histogram{};
  std::vector<ElementSample> unexplained_samples;
  std::vector<ElementSample> non_finite_samples;

  static constexpr double kNoBound = 1e9;

  void add(const TargetMeasure& later);

  /// failures.md section 1; nothing where the delta, or the rounded step, is zero.
  std::optional<double> c() const;
  std::optional<double> rho() const;
  std::optional<double> c_remerge() const;
  std::optional<double> rho_remerge() const;
  /// |P-W-D| / |D|: the noise of the store in units of the delta.
  std::optional<double> noise_share() const;
  /// Share of the nonzero deltas without effect.
  std::optional<double> unchanged_share() const;
  bool scale_bounds_cross() const { return !(scale_low <= scale_high); }
  /// Upper end of the last filled histogram bucket (65 for "more than 64"), 0 where all are equal.
  std::int64_t max_ulp() const;
};

/// What a device (kernels/merge_statistics.h) found in rows that it has passed over.
struct SweptRows {
  std::span<const MergeSums> sums;              // of chunks_of() the rows
  std::span<const GroupLook> looks;             // kMergeGroups of each
  double scale_low = -TargetMeasure::kNoBound;  // elements within them were not looked at
  double scale_high = TargetMeasure::kNoBound;
};

/// Measures stored rows [begin, end).  With `swept` the sums are taken from there and what needs a
/// closer look gets it here: the same bits, as long as the bounds are such that measure_rows()
/// found on rows of this tensor.
TargetMeasure measure_rows(const TargetViews& views, std::int64_t begin, std::int64_t end,
                           const SweptRows* swept = nullptr);

/// The pieces that measure_rows() sums on their own.
std::vector<MergeChunk> chunks_of(const DeltaRows& delta, std::int64_t begin, std::int64_t end);

/// Rows that give a device bounds of the scale to search with, by measure_rows().
std::int64_t leading_rows(const DeltaRows& delta);

/// Rows that make a block of about `elements` elements (at least one row).
std::int64_t rows_per_block(const DeltaRows& delta, std::int64_t elements);

}  // namespace mg
