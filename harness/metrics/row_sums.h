// What the vector code of a row hands to the scalar code: plain sums.  Private to harness/metrics.
// The functions exist once per instruction set (row_sums_portable.cc, row_sums_avx2.cc: the same
// body compiled twice).
#pragma once

#include <cstdint>

namespace mg {

inline constexpr int kScanTop = 10;

/// Largest entries first; equal ones in the order of their ids.  C arrays: see vector_math.h.
struct RowScan {
  float top_logit[kScanTop];
  std::int32_t top_id[kScanTop];
  std::int64_t non_finite;
  std::int32_t first_non_finite;
};

struct PairSums {
  double kl = 0.0;
  double reverse_kl = 0.0;
  double js = 0.0;
  double tv = 0.0;
  double d = 0.0;   // sum of d = z_subject - z_reference
  double dd = 0.0;  // sum of d^2
  double d_max = 0.0;
  double d_min = 0.0;
  double rr = 0.0;  // |z_reference|^2
  double ss = 0.0;
  double rs = 0.0;
  // With a base: x = z_reference - z_base, y = z_subject - z_base.
  double x = 0.0;
  double y = 0.0;
  double xx = 0.0;
  double yy = 0.0;
  double xy = 0.0;
  double p_x = 0.0;       // sum p_reference * x
  double p_base_y = 0.0;  // sum p_base * y
};

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
