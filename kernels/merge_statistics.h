// A pass over a merged weight where the arithmetic is cheap: what is stored of base and merged goes
// to a device in its 16 or 32 bits, and sums per chunk come back.  An optional family:
// Backend::merge_statistics() is null where the host is as near (cpu).  The audit
// (harness/audit/measure.h) gives the numbers their meaning and its own loop gives the same bits.
//
// Not for: elements that need a closer look, which are named and left to the caller; deltas other
// than scale * L * P.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/core/rounding.h"
#include "kernels/core/tensor_view.h"

namespace mg {

/// W base, M merged, D delta, P what rounding W + D to merged's dtype gives.  Doubles are sums over
/// finite elements, or largest magnitudes.
struct MergeSums {
  double weight_square = 0;    // W^2
  double delta_square = 0;     // D^2
  double residual_delta = 0;   // (M-W-D) D
  double residual_square = 0;  // (M-W-D)^2
  double step_square = 0;      // (P-W)^2
  double error_step = 0;       // (M-P)(P-W)
  double error_square = 0;     // (M-P)^2
  double noise_square = 0;     // (P-(W+D))^2
  double max_merged = 0;       // |M|
  double max_expected = 0;     // |W+D|
  std::int64_t nonzero_delta = 0;
  std::int64_t unchanged = 0;  // M = W although D is not zero
  std::int64_t changed = 0;    // M != W
  std::int64_t differing = 0;  // M != P
  std::int64_t subnormal = 0;  // M, not zero

  void add(const MergeSums& later) {
    weight_square += later.weight_square;
    delta_square += later.delta_square;
    residual_delta += later.residual_delta;
    residual_square += later.residual_square;
    step_square += later.step_square;
    error_step += later.error_step;
    error_square += later.error_square;
    noise_square += later.noise_square;
    max_merged = std::max(max_merged, later.max_merged);
    max_expected = std::max(max_expected, later.max_expected);
    nonzero_delta += later.nonzero_delta;
    unchanged += later.unchanged;
    changed += later.changed;
    differing += later.differing;
    subnormal += later.subnormal;
  }
};

/// Elements that are summed on their own, each fourth in one chain and the four chains in pairs; a
/// group of four with an element that is not finite (W, M, or P) is not summed.
inline constexpr std::int64_t kMergeChunk = 512;
inline constexpr std::int64_t kMergeGroups = kMergeChunk / 4;
struct MergeChunk {
  std::int64_t begin = 0;  // element of the tensor
  std::int64_t count = 0;  // at most kMergeChunk
};

/// What is to be known of a group of four.
enum class GroupLook : std::uint8_t {
  kNone,
  kFinite,     // M differs from P, or an element's rounding cell may bound the scale
  kNotFinite,  // an element of it is not, and none was summed
};

/// D[i][j] = scale * sum_k left[i][k] * right[k][j], each product and each sum rounded, k
/// ascending.
struct MergePass {
  TensorView base;                // F16, BF16 or F32, cols elements to a row
  TensorView merged;              // the same, in its own dtype
  std::span<const double> left;   // [rows, rank]
  const double* right = nullptr;  // panels of kPanel columns, [rank, kPanel] each, the last padded
  std::int64_t rank = 0;
  std::int64_t cols = 0;
  double scale = 0;
  // An element is looked at where a scale of `scale_low` or `scale_high` times the adapter's own
  // takes W + D out of the numbers that round to M.
  double scale_low = 0;
  double scale_high = 0;

  static constexpr std::int64_t kPanel = 8;
};

class MergeStatistics {
 public:
  virtual ~MergeStatistics() = default;

  /// Whether sweep() takes tensors stored as these.
  virtual bool takes(DType base, DType merged) const = 0;

  /// sums: one for each chunk; looks: kMergeGroups for each.  `chunks` follow one another without
  /// gaps.  False, with nothing written, where the device has too little memory.
  virtual bool sweep(const MergePass& pass, std::span<const MergeChunk> chunks,
                     std::span<MergeSums> sums, std::span<GroupLook> looks) = 0;
};

}  // namespace mg
