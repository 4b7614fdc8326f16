// Tensors that must hold given bytes: untouched by the adapter, or replaced by it, or replaced in
// some rows. Not for: targets (measure.h).  Tested in tests/audit.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "harness/audit/measure.h"
#include "kernels/core/tensor_view.h"

namespace mg {

/// What merged should hold: `whole`, rounded to merged's dtype where that differs; row rows[i]
/// comes from row i of `part` instead.
struct ExpectedBytes {
  TensorView whole;
  TensorView part = {};
  std::span<const std::int64_t> rows = {};
  std::optional<DType> via = std::nullopt;  // rounded to this one before
};

struct CompareMeasure {
  std::int64_t elements = 0;
  std::int64_t differing = 0;                     // bytes differ
  std::int64_t non_finite = 0;                    // in merged
  std::int64_t expected_non_finite = 0;           // among the differing and the non-finite ones
  double difference_square = 0;                   // over the finite differing elements
  double expected_square = 0;                     // over the same
  std::vector<ElementSample> samples;             // first differing elements
  std::vector<ElementSample> non_finite_samples;  // in merged

  void add(const CompareMeasure& later);
};

/// Compares elements [begin, end) of the flattened tensors.
CompareMeasure compare_elements(const ExpectedBytes& expected, const TensorView& merged,
                                std::int64_t begin, std::int64_t end);

}  // namespace mg
