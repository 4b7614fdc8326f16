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

// 1 + the number of entries the subject puts before this one (equal logits: the smaller id first).
double rank_in(const float* z, std::int64_t V, const LaneRow& row, std::int32_t id) {
  const auto found = std::find(row.top_id.begin(), row.top_id.end(), id);
  if (found != row.top_id.end()) {
    return static_cast<double>(found - row.top_id.begin()) + 1.0;
  }
  const float own = z[id];
  std::int64_t before = 0;
  for (std::int64_t v = 0; v < V; ++v) {
    before += (z[v] > own || (z[v] == own && v < id)) ? 1 : 0;
  }
  return static_cast<double>(before) + 1.0;
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

void fill_logit_errors(const PairInput& in, const RowSums& kernel, const PairSums& sums,
                       PairRow& out) {
  const auto V = static_cast<double>(in.V);
  const double mean = sums.d / V;
  const bool raw_at_max = sums.d_max >= -sums.d_min;
  const bool centred_at_max = sums.d_max - mean >= mean - sums.d_min;
  out.max_abs = raw_at_max ? sums.d_max : -sums.d_min;
  out.rms = std::sqrt(sums.dd / V);
  out.max_abs_centred = centred_at_max ? sums.d_max - mean : mean - sums.d_min;
  out.rms_centred = std::sqrt(std::max(0.0, sums.dd / V - mean * mean));
  const auto place = [&](bool at_max) {
    return static_cast<std::int32_t>(
        kernel.find_difference(in.reference, in.subject, in.V, at_max ? sums.d_max : sums.d_min));
  };
  out.max_abs_token = place(raw_at_max);
  out.max_abs_centred_token =
      centred_at_max == raw_at_max ? out.max_abs_token : place(centred_at_max);
}

void fill_ranking(const PairInput& in, PairRow& out) {
  const LaneRow& reference = *in.reference_row;
  const LaneRow& subject = *in.subject_row;
  const std::int32_t first = reference.top_id[0];
  const std::int32_t other = subject.top_id[0];
  out.agree = first == other;
  if (!out.agree) {
    out.flip_gap_reference =
        static_cast<double>(in.reference[first]) - static_cast<double>(in.reference[other]);
    out.flip_gap_subject =
        static_cast<double>(in.subject[other]) - static_cast<double>(in.subject[first]);
  }
  out.top5_overlap = overlap(reference, subject, std::min<std::int64_t>(5, in.V));
  out.top10_overlap = overlap(reference, subject, std::min<std::int64_t>(kTopEntries, in.V));
  out.rank = rank_in(in.subject, in.V, subject, first);
  out.confidence = std::exp(static_cast<double>(reference.top_logit[0]) - reference.lse);
}

void fill_likelihood(const PairInput& in, PairRow& out) {
  if (in.next_token < 0) {
    return;
  }
  MG_CHECK(in.next_token < in.V, "the next token is an entry of the vocabulary");
  const double reference = static_cast<double>(in.reference[in.next_token]);
  const double subject = static_cast<double>(in.subject[in.next_token]);
  out.nll_reference = in.reference_row->lse - reference;
  out.nll_subject = in.subject_row->lse - subject;
  out.delta_nll = (in.subject_row->lse - in.reference_row->lse) - (subject - reference);
  // p (e^-delta_nll - 1): exact for nearly equal rows where q - p would cancel.  Where p
  // underflows, q is all there is.
  const double p = std::exp(-out.nll_reference);
  out.delta_p = std::abs(out.delta_nll) < 1.0 ? p * std::expm1(-out.delta_nll)
                                              : std::exp(-out.nll_subject) - p;
}

void fill_base(const PairInput& in, const PairSums& sums, PairRow& out) {
  out.base_finite = true;
  out.towards_base = !out.agree && in.subject_row->top_id[0] == in.base_row->top_id[0];
  // Two-term forms: exact zeros for equal rows, otherwise an absolute error near 1e-15 nat.  They
  // may come out as -1e-16.
  out.kl_base = std::max(0.0, sums.p_x - (in.reference_row->lse - in.base_row->lse));
  out.kl_base_subject = std::max(0.0, (in.subject_row->lse - in.base_row->lse) - sums.p_base_y);
  const auto V = static_cast<double>(in.V);
  out.slope_xx = std::max(0.0, sums.xx - sums.x * sums.x / V);
  out.slope_yy = std::max(0.0, sums.yy - sums.y * sums.y / V);
  out.slope_xy = sums.xy - sums.x * sums.y / V;
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

LaneRow measure_lane(const float* z, std::int64_t V, RowPath path) {
  MG_CHECK(V >= 1 && V <= std::numeric_limits<std::int32_t>::max(), "a vocabulary has entries");
  const RowSums& kernel = sums_for(path);
  static_assert(kScanTop == kTopEntries);
  RowScan scan;
  kernel.scan(z, V, scan);
  LaneRow row;
  std::copy_n(scan.top_logit, kTopEntries, row.top_logit.begin());
  std::copy_n(scan.top_id, kTopEntries, row.top_id.begin());
  row.non_finite = scan.non_finite;
  row.first_non_finite = scan.first_non_finite;
  if (row.finite()) {
    const auto largest = static_cast<double>(row.top_logit[0]);
    row.lse = largest + std::log(kernel.sum_exp(z, V, largest));
  }
  return row;
}

PairRow compare_rows(const PairInput& in, RowPath path) {
  PairRow out;
  if (!in.reference_row->finite() || !in.subject_row->finite()) {
    return out;
  }
  const RowSums& kernel = sums_for(path);
  const bool with_base = in.base != nullptr && in.base_row->finite();
  PairSums sums;
  kernel.pair({in.reference, in.subject, with_base ? in.base : nullptr, in.V, in.reference_row->lse,
               in.subject_row->lse, with_base ? in.base_row->lse : 0.0},
              sums);
  out.finite = true;
  out.kl = sums.kl;
  out.reverse_kl = sums.reverse_kl;
  out.js = sums.js;
  out.tv = sums.tv;
  out.cosine = cosine_of(sums);
  fill_logit_errors(in, kernel, sums, out);
  fill_ranking(in, out);
  fill_likelihood(in, out);
  if (with_base) {
    fill_base(in, sums, out);
  }
  return out;
}

}  // namespace mg
