// The inner loop of measure_rows.  Private to harness/audit.
#pragma once

#include <cstdint>

#include "kernels/core/rounding.h"

namespace mg {

/// Sums over groups of four elements, one per lane of the loop; all doubles are sums over finite
/// elements.
struct KernelSums {
  double weight_square = 0;
  double delta_square = 0;
  double residual_delta = 0;
  double residual_square = 0;
  double step_square = 0;
  double error_step = 0;
  double error_square = 0;
  double noise_square = 0;
  double max_merged = 0;
  double max_expected = 0;
  std::int64_t nonzero_delta = 0;
  std::int64_t unchanged = 0;
  std::int64_t changed = 0;
  std::int64_t differing = 0;
  std::int64_t subnormal = 0;

  void add(const KernelSums& later);
};

struct KernelChunk {
  static constexpr std::int64_t kSize = 512;

  // Filled up to a multiple of four with zeros, which add nothing.
  alignas(32) double weight[kSize];
  alignas(32) double merged[kSize];
  double const* delta = nullptr;
  std::int64_t groups = 0;
  // Scales outside of which some element may tighten the bounds; low > high switches the search
  // off.
  double scale_low = 0;
  double scale_high = 0;
  bool bound_scale = true;

  // Out: groups that need a closer look, `finite` false where one of the four is not (and none was
  // summed).
  struct Flag {
    std::int32_t group = 0;
    bool finite = true;
  };
  Flag flags[kSize / 4];
  std::int64_t flag_count = 0;
};

/// Adds the chunk to `sums` and lists its flagged groups.
void measure_chunk(KernelChunk& chunk, const GridFormat& store, KernelSums& sums);

/// The same for one element, which must be finite in all its parts.
void measure_element(double weight, double merged, double delta, const GridFormat& store,
                     KernelSums& sums);

}  // namespace mg
