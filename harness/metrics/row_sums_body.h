// The sweeps over V in vector form; included by one .cc per instruction set and by nothing else.
// Order of summation: entry v goes to accumulator v mod 4, in rising order of v; the last partial
// group of four is padded with copies that carry weight 0.  See vector_math.h for why no standard
// function is used here.
#pragma once

#include "harness/metrics/row_sums.h"
#include "harness/metrics/vector_math.h"

namespace mg {
namespace {

// Largest finite float: !(|z| <= it) holds for NaN and both infinities.
inline constexpr float kLargestFloat = 3.40282346638528859812e+38F;

// A new candidate for the top entries.  Equal logits keep the order of arrival, that is, of ids.
MG_INLINE void insert_top(RowScan& out, float logit, std::int32_t id) {
  int slot = kScanTop - 1;
  while (slot > 0 && logit > out.top_logit[slot - 1]) {
    out.top_logit[slot] = out.top_logit[slot - 1];
    out.top_id[slot] = out.top_id[slot - 1];
    --slot;
  }
  out.top_logit[slot] = logit;
  out.top_id[slot] = id;
}

MG_INLINE void scan_entry(const float* z, std::int64_t v, RowScan& out) {
  const float logit = z[v];
  const float magnitude = logit < 0.0F ? -logit : logit;
  if (!(magnitude <= kLargestFloat)) {
    if (out.non_finite == 0) {
      out.first_non_finite = static_cast<std::int32_t>(v);
    }
    ++out.non_finite;
  } else if (logit > out.top_logit[kScanTop - 1]) {
    insert_top(out, logit, static_cast<std::int32_t>(v));
  }
}

using F8 = float __attribute__((vector_size(32)));
using B8 = std::int32_t __attribute__((vector_size(32)));

MG_INLINE bool any8(B8 mask) {
#ifdef __AVX2__
  return _mm256_movemask_ps(__m256(mask)) != 0;
#else
  std::int64_t words[4];
  __builtin_memcpy(words, &mask, sizeof(words));
  return (words[0] | words[1] | words[2] | words[3]) != 0;
#endif
}

// A group of eight is looked at one by one only if an entry beats the tenth largest so far or is
// not finite: both rare.
inline void scan(const float* z, std::int64_t V, RowScan& out) {
  for (int i = 0; i < kScanTop; ++i) {
    out.top_logit[i] = -__builtin_inff();
    out.top_id[i] = -1;
  }
  out.non_finite = 0;
  out.first_non_finite = -1;
  const F8 largest = F8{} + kLargestFloat;
  std::int64_t v = 0;
  for (; v + 8 <= V; v += 8) {
    F8 group;
    __builtin_memcpy(&group, z + v, sizeof(group));
    const F8 tenth = F8{} + out.top_logit[kScanTop - 1];
    // Written so that NaN counts as interesting.
    if (any8(~(B8(group <= tenth) & B8(group >= -largest)))) {
      for (int i = 0; i < 8; ++i) {
        scan_entry(z, v + i, out);
      }
    }
  }
  for (; v < V; ++v) {
    scan_entry(z, v, out);
  }
}

// The last group of fewer than four entries, padded with its first one.
struct Tail {
  float z[4];
  MG_INLINE Tail(const float* row, std::int64_t v, std::int64_t V) {
    for (std::int64_t i = 0; i < 4; ++i) {
      z[i] = row[v + i < V ? v + i : v];
    }
  }
};

MG_INLINE D4 tail_weights(std::int64_t count) {
  return D4{count > 0 ? 1.0 : 0.0, count > 1 ? 1.0 : 0.0, count > 2 ? 1.0 : 0.0, 0.0};
}

inline double sum_exp(const float* z, std::int64_t V, double shift) {
  D4 sum = splat(0.0);
  std::int64_t v = 0;
  for (; v + 4 <= V; v += 4) {
    sum += exp4(load4(z + v) - splat(shift));
  }
  if (v < V) {
    const Tail tail(z, v, V);
    sum += tail_weights(V - v) * exp4(load4(tail.z) - splat(shift));
  }
  return sum_of(sum);
}

struct PairAccumulators {
  D4 kl, reverse_kl, js, tv, d, dd, d_max, d_min, rr, ss, rs, x, y, xx, yy, xy, p_x, p_base_y;
};

// Contributions of four entries to the divergences, each written as a sum of terms that are never
// negative: with delta = ln q - ln p and E = e^delta - 1, and because sum (q - p) = 0,
//   KL(p||q) = sum p (E - delta)                    KL(q||p) = sum p (delta (1 + E) - E)
//   TV       = sum p |E| / 2                        JS = sum p (E h - (2 + E) ln cosh h) / 2,  h =
//   delta / 2
// So nothing cancels for nearly equal rows, equal rows give exactly 0, and an error of the
// log-sum-exps enters only squared (KL, JS).  For |delta| <= 1/4 the terms come from series;
// beyond, from q itself.
struct Divergences {
  D4 kl, reverse_kl, js, tv;
};

MG_INLINE Divergences small_terms(D4 p, D4 delta) {
  const D4 phi = exp_minus_line4(delta);
  const D4 e = delta + phi;
  const D4 h = splat(0.5) * delta;
  const D4 half_p = splat(0.5) * p;
  return {p * phi, p * (delta * e - phi), half_p * (e * h - (splat(2.0) + e) * log_cosh4(h)),
          half_p * abs4(e)};
}

// JS here in the form that stays exact when one of p and q is next to nothing: with t = e^-|delta|,
//   (p + q)(ln 2 - ln(1 + t)) / 2 - min(p, q) |delta| / 2.
MG_INLINE Divergences large_terms(D4 p, D4 q, D4 delta) {
  const D4 difference = q - p;
  const D4 size = abs4(delta);
  const D4 shared = splat(0.69314718055994530942) - log1p4(exp4(-size));
  return {difference - p * delta, q * delta - difference,
          splat(0.5) * ((p + q) * shared - min4(p, q) * size), splat(0.5) * abs4(difference)};
}

template <bool kBase, bool kTail>
MG_INLINE void add_group(const PairSumsInput& in, const float* reference, const float* subject,
                         const float* base, D4 weight, PairAccumulators& sums) {
  const auto weighted = [weight](D4 v) { return kTail ? weight * v : v; };
  const D4 r = load4(reference);
  const D4 s = load4(subject);
  const D4 d = s - r;
  sums.d_max = max4(d, sums.d_max);
  sums.d_min = min4(d, sums.d_min);
  const D4 d_weighted = weighted(d);
  sums.d += d_weighted;
  sums.dd = fma4(d_weighted, d, sums.dd);
  const D4 r_weighted = weighted(r);
  sums.rr = fma4(r_weighted, r, sums.rr);
  sums.rs = fma4(r_weighted, s, sums.rs);
  sums.ss = fma4(weighted(s), s, sums.ss);

  const D4 p = weighted(exp4(r - splat(in.lse_reference)));
  const D4 delta = d - splat(in.lse_subject - in.lse_reference);
  const I4 is_small = abs4(delta) <= splat(0.25);
  Divergences terms = small_terms(p, select4(is_small, delta, splat(0.0)));
  if (any4(~is_small)) {
    const D4 q = weighted(exp4(s - splat(in.lse_subject)));
    const Divergences large = large_terms(p, q, delta);
    terms = {select4(is_small, terms.kl, large.kl),
             select4(is_small, terms.reverse_kl, large.reverse_kl),
             select4(is_small, terms.js, large.js), select4(is_small, terms.tv, large.tv)};
  }
  sums.kl += terms.kl;
  sums.reverse_kl += terms.reverse_kl;
  sums.js += terms.js;
  sums.tv += terms.tv;

  if constexpr (kBase) {
    const D4 b = load4(base);
    const D4 x = r - b;
    const D4 y = s - b;
    const D4 x_weighted = weighted(x);
    const D4 y_weighted = weighted(y);
    sums.x += x_weighted;
    sums.y += y_weighted;
    sums.xx = fma4(x_weighted, x, sums.xx);
    sums.xy = fma4(x_weighted, y, sums.xy);
    sums.yy = fma4(y_weighted, y, sums.yy);
    sums.p_x = fma4(p, x, sums.p_x);
    const D4 p_base = exp4(b - splat(in.lse_base));
    sums.p_base_y = fma4(p_base, y_weighted, sums.p_base_y);
  }
}

template <bool kBase>
MG_INLINE void add_all_groups(const PairSumsInput& in, PairAccumulators& sums) {
  std::int64_t v = 0;
  for (; v + 4 <= in.V; v += 4) {
    add_group<kBase, false>(in, in.reference + v, in.subject + v, kBase ? in.base + v : nullptr,
                            splat(1.0), sums);
  }
  if (v < in.V) {
    const Tail reference(in.reference, v, in.V);
    const Tail subject(in.subject, v, in.V);
    const Tail base(kBase ? in.base : in.reference, v, in.V);
    add_group<kBase, true>(in, reference.z, subject.z, base.z, tail_weights(in.V - v), sums);
  }
}

inline void pair(const PairSumsInput& in, PairSums& out) {
  const D4 zero = splat(0.0);
  const D4 first = splat(static_cast<double>(in.subject[0]) - static_cast<double>(in.reference[0]));
  PairAccumulators sums{zero, zero, zero, zero, zero, zero, first, first, zero,
                        zero, zero, zero, zero, zero, zero, zero,  zero,  zero};
  if (in.base != nullptr) {
    add_all_groups<true>(in, sums);
  } else {
    add_all_groups<false>(in, sums);
  }
  out.kl = sum_of(sums.kl);
  out.reverse_kl = sum_of(sums.reverse_kl);
  out.js = sum_of(sums.js);
  out.tv = sum_of(sums.tv);
  out.d = sum_of(sums.d);
  out.dd = sum_of(sums.dd);
  out.d_max = max_of(sums.d_max);
  out.d_min = min_of(sums.d_min);
  out.rr = sum_of(sums.rr);
  out.ss = sum_of(sums.ss);
  out.rs = sum_of(sums.rs);
  out.x = sum_of(sums.x);
  out.y = sum_of(sums.y);
  out.xx = sum_of(sums.xx);
  out.yy = sum_of(sums.yy);
  out.xy = sum_of(sums.xy);
  out.p_x = sum_of(sums.p_x);
  out.p_base_y = sum_of(sums.p_base_y);
}

inline std::int64_t find_difference(const float* reference, const float* subject, std::int64_t V,
                                    double value) {
  std::int64_t v = 0;
  while (v + 4 <= V && !any4(load4(subject + v) - load4(reference + v) == splat(value))) {
    v += 4;
  }
  for (; v < V; ++v) {
    if (static_cast<double>(subject[v]) - static_cast<double>(reference[v]) == value) {
      return v;
    }
  }
  return -1;
}

inline constexpr RowSums kRowSums{scan, sum_exp, pair, find_difference};

}  // namespace
}  // namespace mg
