// The metrics of one row of logits: what a single lane says, and what tells two lanes apart.
// Everything that touches all V entries of a row is here, in two sweeps: `measure_lane` (largest
// entries and log-sum-exp) and `compare_rows` (all differences at once).  Not for: rows together
// (accumulator.h) or statistics. Same bits for any thread count and chunking, because a row is
// always summed in the same order; the portable and the AVX2 path differ in the last bits (fused
// multiply-add).  Tested in tests/metrics/row_kernel_test.cc.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "kernels/core/row_sums.h"

namespace mg {

inline constexpr int kTopEntries = kScanTop;

/// One lane's row on its own.  Where `non_finite` is not 0 only `non_finite` and `first_non_finite`
/// mean anything.
struct LaneRow {
  double lse = 0.0;                                // ln sum_v e^z
  std::array<float, kTopEntries> top_logit{};      // largest first; ties: smaller id first
  std::array<std::int32_t, kTopEntries> top_id{};  // -1 beyond a vocabulary of fewer entries
  std::int64_t non_finite = 0;                     // entries that are NaN or infinite
  std::int32_t first_non_finite = -1;

  bool finite() const { return non_finite == 0; }
};

/// "No number": a value that does not exist for this row (no base, no next token, not finite).
inline constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

/// Reference against subject, and the base beside them.  Information in nats.  Formulas:
/// docs/reference/metrics.md section 2. d = z_subject - z_reference; `~` = centred by the row's
/// mean.
struct PairRow {
  double kl = kAbsent;          // KL(reference || subject)
  double reverse_kl = kAbsent;  // KL(subject || reference)
  double js = kAbsent;          // Jensen-Shannon, at most ln 2
  double tv = kAbsent;          // total variation, in [0, 1]
  double max_abs = kAbsent;     // max |d|
  double rms = kAbsent;         // sqrt(mean d^2)
  double max_abs_centred = kAbsent;
  double rms_centred = kAbsent;
  double cosine = kAbsent;  // of the raw rows; two zero rows count as equal
  double top5_overlap = kAbsent;
  double top10_overlap = kAbsent;
  double rank = kAbsent;            // of the reference's first token in the subject; 1 = first
  double flip_gap_reference = 0.0;  // z_ref[first of ref] - z_ref[first of sub]; 0 where they agree
  double flip_gap_subject = 0.0;    // z_sub[first of sub] - z_sub[first of ref]
  double confidence = kAbsent;      // largest probability of the reference
  double nll_reference = kAbsent;   // of the given next token; absent without one
  double nll_subject = kAbsent;
  double delta_nll = kAbsent;  // subject minus reference, without the cancellation of the two above
  double delta_p = kAbsent;    // probability of the given token, subject minus reference
  double kl_base = kAbsent;    // KL(reference || base): what the adapter does
  double kl_base_subject = kAbsent;  // KL(base || subject)
  double slope_xx = kAbsent;         // |ref~ - base~|^2
  double slope_xy = kAbsent;         // <sub~ - base~, ref~ - base~>
  double slope_yy = kAbsent;         // |sub~ - base~|^2
  std::int32_t max_abs_token = -1;
  std::int32_t max_abs_centred_token = -1;
  bool finite = false;        // reference and subject are; otherwise nothing above is set
  bool agree = false;         // same first token
  bool towards_base = false;  // they disagree, and the subject's first token is the base's
  bool base_finite = false;   // there is a base and it is finite
};

struct PairInput {
  const float* reference = nullptr;
  const float* subject = nullptr;
  const float* base = nullptr;  // may be null
  const LaneRow* reference_row = nullptr;
  const LaneRow* subject_row = nullptr;
  const LaneRow* base_row = nullptr;
  std::int64_t V = 0;
  std::int64_t next_token = -1;  // below V; -1: none
};

/// The rows' own halves of a PairInput.
struct PairLanes {
  const LaneRow* reference = nullptr;
  const LaneRow* subject = nullptr;
  const LaneRow* base = nullptr;  // may be null
};

/// A row from sweeps made elsewhere (kernels/row_statistics.h), both asked for V entries.
LaneRow lane_row_of(const LaneSweep& sweep);
PairRow pair_row_of(const PairSweep& sweep, const PairLanes& lanes, std::int64_t V,
                    bool has_next_token);

/// Which instructions the sweeps use; the best one the processor has is taken by default.
enum class RowPath { kPortable, kAvx2 };

RowPath best_row_path();

/// Sweep 1 over z[V], V >= 1.
LaneRow measure_lane(const float* z, std::int64_t V, RowPath path = best_row_path());

/// Sweep 2.  All pointers of `input` but `base` and `base_row` are set.
PairRow compare_rows(const PairInput& input, RowPath path = best_row_path());

}  // namespace mg
