// What a sweep over a row of logits leaves behind, wherever it ran: on the host (harness/metrics)
// or where the logits lie (kernels/row_statistics.h).  Plain numbers without functions; includes
// nothing but <cstdint>, because files compiled for one instruction set include it.
// Not for: what becomes of them (harness/metrics/row_kernel.h).
#pragma once

#include <cstdint>

namespace mg {

/// How many of the largest entries are kept per lane and row.
inline constexpr int kScanTop = 10;

/// Largest entries first; equal ones in the order of their ids.
struct RowScan {
  float top_logit[kScanTop];
  std::int32_t top_id[kScanTop];  // -1 beyond a vocabulary of fewer finite entries
  std::int64_t non_finite;        // entries that are NaN or infinite
  std::int32_t first_non_finite;  // -1: none
};

/// Sums over the vocabulary; information in nats.
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

/// One lane's row.
struct LaneSweep {
  RowScan scan{};
  double lse = 0.0;  // ln sum_v e^z; means nothing where scan.non_finite is not 0
};

/// The lanes that a comparison is between, as indices.
struct LanePair {
  int reference = 0;
  int subject = 0;
  int base = -1;  // -1: no base; merge error ratio and slope do not exist
};

/// Two lanes' row, both finite; where one is not, nothing in it means anything.  `first` is the
/// reference's largest entry, `other` the subject's.
struct PairSweep {
  PairSums sums;
  std::int32_t max_token = -1;   // the first token where d is d_max
  std::int32_t min_token = -1;   // ... d_min; -1 where the sweep was not asked for it
  float reference_at_other = 0;  // z_reference[other]
  float subject_at_first = 0;    // z_subject[first]
  float reference_at_next = 0;   // of the row's next token, where it has one
  float subject_at_next = 0;
  std::int64_t before_first = 0;  // entries the subject puts before `first`
};

}  // namespace mg
