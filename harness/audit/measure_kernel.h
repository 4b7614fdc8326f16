// The inner loop of measure_rows.  Private to harness/audit.
#pragma once

#include <cstdint>

#include "kernels/core/rounding.h"
#include "kernels/merge_statistics.h"

namespace mg {

struct KernelChunk {
  static constexpr std::int64_t kSize = kMergeChunk;

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
void measure_chunk(KernelChunk& chunk, const GridFormat& store, MergeSums& sums);

/// The same for one element, which must be finite in all its parts.
void measure_element(double weight, double merged, double delta, const GridFormat& store,
                     MergeSums& sums);

}  // namespace mg
