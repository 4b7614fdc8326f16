#include "harness/metrics/row_kernel.h"

#include <algorithm>
#include <cmath>

#include "harness/metrics/row_sums.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

const RowSums& sums_for(RowPath path) {
#ifdef MG_METRICS_AVX2
  if (path == RowPath::kAvx2) {
    return row_sums_avx2();
  }
#endif
  MG_CHECK(path == RowPath::kPortable, "this build has the asked-for instruction path");
  return row_sums_portable();
}

double overlap(const LaneRow& reference, const LaneRow& subject, std::int64_t k) {
  const auto last = static_cast<std::ptrdiff_t>(k);
  const auto shared = std::count_if(
      reference.top_id.begin(), reference.top_id.begin() + last, [&](std::int32_t id) {
        return std::find(subject.top_id.begin(), subject.top_id.begin() + last, id) !=
               subject.top_id.begin() + last;
      });
  return static_cast<double>(shared) / static_cast<double>(k);
}

// The number of entries the subject puts before this one (equal logits: the smaller id first).
std::int64_t entries_before(const float* z, std::int64_t V, const LaneRow& row, std::int32_t id) {
  const auto found = std::find(row.top_id.begin(), row.top_id.end(), id);
  if (found != row.top_id.end()) {
    return found - row.top_id.begin();
  }
  const float own = z[id];
  std::int64_t before = 0;
  for (std::int64_t v = 0; v < V; ++v) {
    before += (z[v] > own || (z[v] == own && v < id)) ? 1 : 0;
  }
  return before;
}

double cosine_of(const PairSums& sums) {
  if (sums.rr == 0.0 || sums.ss == 0.0) {
    return sums.rr == sums.ss ? 1.0 : 0.0;
  }
  // Equal rows give equal sums, and x / (sqrt x * sqrt x) may miss 1 by an ulp.
  if (sums.rr == sums.ss && sums.rr == sums.rs) {
    return 1.0;
  }
  return sums.rs / (std::sqrt(sums.rr) * std::sqrt(sums.ss));
}

/// Which of d's two ends is the larger error, as it is and centred by the row's mean.
struct Ends {
  double mean = 0;
  bool raw_at_max = false;
  bool centred_at_max = false;
};

Ends ends_of(const PairSums& sums, std::int64_t V) {
  const double mean = sums.d / static_cast<double>(V);
  return {mean, sums.d_max >= -sums.d_min, sums.d_max - mean >= mean - sums.d_min};
}

/// What the second sweep leaves; the places of d's ends only where they are asked for.
PairSweep sweep_pair(const PairInput& in, const float* base, const RowSums& kernel) {
  PairSweep out;
  kernel.pair({in.reference, in.subject, base, in.V, in.reference_row->lse, in.subject_row->lse,
               base == nullptr ? 0.0 : in.base_row->lse},
              out.sums);
  const Ends ends = ends_of(out.sums, in.V);
  const auto place = [&](double value) {
    return static_cast<std::int32_t>(kernel.find_difference(in.reference, in.subject, in.V, value));
  };
  if (ends.raw_at_max || ends.centred_at_max) {
    out.max_token = place(out.sums.d_max);
  }
  if (!ends.raw_at_max || !ends.centred_at_max) {
    out.min_token = place(out.sums.d_min);
  }
  const std::int32_t first = in.reference_row->top_id[0];
  out.reference_at_other = in.reference[in.subject_row->top_id[0]];
  out.subject_at_first = in.subject[first];
  if (in.next_token >= 0) {
    MG_CHECK(in.next_token < in.V, "the next token is an entry of the vocabulary");
    out.reference_at_next = in.reference[in.next_token];
    out.subject_at_next = in.subject[in.next_token];
  }
  out.before_first = entries_before(in.subject, in.V, *in.subject_row, first);
  return out;
}

void fill_logit_errors(const PairSweep& in, std::int64_t V, PairRow& out) {
  const PairSums& sums = in.sums;
  const Ends ends = ends_of(sums, V);
  out.max_abs = ends.raw_at_max ? sums.d_max : -sums.d_min;
  out.rms = std::sqrt(sums.dd / static_cast<double>(V));
  out.max_abs_centred = ends.centred_at_max ? sums.d_max - ends.mean : ends.mean - sums.d_min;
  out.rms_centred =
      std::sqrt(std::max(0.0, sums.dd / static_cast<double>(V) - ends.mean * ends.mean));
  out.max_abs_token = ends.raw_at_max ? in.max_token : in.min_token;
  out.max_abs_centred_token = ends.centred_at_max ? in.max_token : in.min_token;
}

void fill_ranking(const PairSweep& in, const PairLanes& lanes, std::int64_t V, PairRow& out) {
  const LaneRow& reference = *lanes.reference;
  const LaneRow& subject = *lanes.subject;
  out.agree = reference.top_id[0] == subject.top_id[0];
  if (!out.agree) {
    out.flip_gap_reference =
        static_cast<double>(reference.top_logit[0]) - static_cast<double>(in.reference_at_other);
    out.flip_gap_subject =
        static_cast<double>(subject.top_logit[0]) - static_cast<double>(in.subject_at_first);
  }
  out.top5_overlap = overlap(reference, subject, std::min<std::int64_t>(5, V));
  out.top10_overlap = overlap(reference, subject, std::min<std::int64_t>(kTopEntries, V));
  out.rank = static_cast<double>(in.before_first) + 1.0;
  out.confidence = std::exp(static_cast<double>(reference.top_logit[0]) - reference.lse);
}

void fill_likelihood(const PairSweep& in, const PairLanes& lanes, PairRow& out) {
  const double reference = static_cast<double>(in.reference_at_next);
  const double subject = static_cast<double>(in.subject_at_next);
  out.nll_reference = lanes.reference->lse - reference;
  out.nll_subject = lanes.subject->lse - subject;
  out.delta_nll = (lanes.subject->lse - lanes.reference->lse) - (subject - reference);
  // p (e^-delta_nll - 1): exact for nearly equal rows where q - p would cancel.  Where p
  // underflows, q is all there is.
  const double p = std::exp(-out.nll_reference);
  out.delta_p = std::abs(out.delta_nll) < 1.0 ? p * std::expm1(-out.delta_nll)
                                              : std::exp(-out.nll_subject) - p;
}

void fill_base(const PairSums& sums, const PairLanes& lanes, std::int64_t V, PairRow& out) {
  out.base_finite = true;
  out.towards_base = !out.agree && lanes.subject->top_id[0] == lanes.base->top_id[0];
  // Two-term forms: exact zeros for equal rows, otherwise an absolute error near 1e-15 nat.  They
  // may come out as -1e-16.
  out.kl_base = std::max(0.0, sums.p_x - (lanes.reference->lse - lanes.base->lse));
  out.kl_base_subject = std::max(0.0, (lanes.subject->lse - lanes.base->lse) - sums.p_base_y);
  const auto n = static_cast<double>(V);
  out.slope_xx = std::max(0.0, sums.xx - sums.x * sums.x / n);
  out.slope_yy = std::max(0.0, sums.yy - sums.y * sums.y / n);
  out.slope_xy = sums.xy - sums.x * sums.y / n;
}

}  // namespace

RowPath best_row_path() {
#ifdef MG_METRICS_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return RowPath::kAvx2;
  }
#endif
  return RowPath::kPortable;
}

LaneRow lane_row_of(const LaneSweep& sweep) {
  LaneRow row;
  std::copy_n(sweep.scan.top_logit, kTopEntries, row.top_logit.begin());
  std::copy_n(sweep.scan.top_id, kTopEntries, row.top_id.begin());
  row.non_finite = sweep.scan.non_finite;
  row.first_non_finite = sweep.scan.first_non_finite;
  row.lse = row.finite() ? sweep.lse : 0.0;
  return row;
}

PairRow pair_row_of(const PairSweep& sweep, const PairLanes& lanes, std::int64_t V,
                    bool has_next_token) {
  PairRow out;
  if (!lanes.reference->finite() || !lanes.subject->finite()) {
    return out;
  }
  out.finite = true;
  out.kl = sweep.sums.kl;
  out.reverse_kl = sweep.sums.reverse_kl;
  out.js = sweep.sums.js;
  out.tv = sweep.sums.tv;
  out.cosine = cosine_of(sweep.sums);
  fill_logit_errors(sweep, V, out);
  fill_ranking(sweep, lanes, V, out);
  if (has_next_token) {
    fill_likelihood(sweep, lanes, out);
  }
  if (lanes.base != nullptr && lanes.base->finite()) {
    fill_base(sweep.sums, lanes, V, out);
  }
  return out;
}

LaneRow measure_lane(const float* z, std::int64_t V, RowPath path) {
  MG_CHECK(V >= 1 && V <= std::numeric_limits<std::int32_t>::max(), "a vocabulary has entries");
  const RowSums& kernel = sums_for(path);
  LaneSweep sweep;
  kernel.scan(z, V, sweep.scan);
  if (sweep.scan.non_finite == 0) {
    const auto largest = static_cast<double>(sweep.scan.top_logit[0]);
    sweep.lse = largest + std::log(kernel.sum_exp(z, V, largest));
  }
  return lane_row_of(sweep);
}

PairRow compare_rows(const PairInput& in, RowPath path) {
  if (!in.reference_row->finite() || !in.subject_row->finite()) {
    return {};
  }
  const bool with_base = in.base != nullptr && in.base_row->finite();
  const PairSweep sweep = sweep_pair(in, with_base ? in.base : nullptr, sums_for(path));
  return pair_row_of(sweep, {in.reference_row, in.subject_row, with_base ? in.base_row : nullptr},
                     in.V, in.next_token >= 0);
}

}  // namespace mg
