// What the vector code of a row hands to the scalar code: plain sums.  Private to harness/metrics.
// The functions exist once per instruction set (row_sums_portable.cc, row_sums_avx2.cc: the same
// body compiled twice).
#pragma once

#include <cstdint>

#include "kernels/core/row_sums.h"

namespace mg {

struct PairSumsInput {
  const float* reference;
  const float* subject;
  const float* base;  // may be null
  std::int64_t V;
  double lse_reference;
  double lse_subject;
  double lse_base;
};

struct RowSums {
  /// Fills the top entries and the count of entries that are not finite.
  void (*scan)(const float* z, std::int64_t V, RowScan& scan);
  /// sum e^(z - shift)
  double (*sum_exp)(const float* z, std::int64_t V, double shift);
  void (*pair)(const PairSumsInput& input, PairSums& sums);
  /// First index where double(subject) - double(reference) == value, or -1.
  std::int64_t (*find_difference)(const float* reference, const float* subject, std::int64_t V,
                                  double value);
};

const RowSums& row_sums_portable();
#ifdef MG_METRICS_AVX2
const RowSums& row_sums_avx2();
#endif

}  // namespace mg
