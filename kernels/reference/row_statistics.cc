#include "kernels/reference/row_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/contract/arguments.h"
#include "kernels/reference/backend.h"

namespace mg::reference {
namespace {

using Real = long double;

/// A row as FP32 has it: what read() gives, and what the formulas are about.
std::vector<float> floats_of(const Mat& x, std::int64_t row, std::int64_t count) {
  const View values = view(x);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (std::int64_t v = 0; v < count; ++v) {
    out[static_cast<std::size_t>(v)] = static_cast<float>(values(row, v));
  }
  return out;
}

/// Larger first, then the lower token.
struct Before {
  const std::vector<float>& z;
  bool operator()(std::int32_t i, std::int32_t j) const {
    const float x = z[static_cast<std::size_t>(i)];
    const float y = z[static_cast<std::size_t>(j)];
    return x > y || (x == y && i < j);
  }
};

struct Scanned {
  LaneSweep sweep;
  Real lse = 0;
};

Scanned scan(const std::vector<float>& z) {
  Scanned out;
  RowScan& scan = out.sweep.scan;
  std::fill(std::begin(scan.top_logit), std::end(scan.top_logit), -INFINITY);
  std::fill(std::begin(scan.top_id), std::end(scan.top_id), -1);
  scan.first_non_finite = -1;
  std::vector<std::int32_t> order;
  for (std::size_t v = 0; v < z.size(); ++v) {
    if (std::isfinite(z[v])) {
      order.push_back(static_cast<std::int32_t>(v));
    } else if (scan.non_finite++ == 0) {
      scan.first_non_finite = static_cast<std::int32_t>(v);
    }
  }
  std::sort(order.begin(), order.end(), Before{z});
  for (std::size_t i = 0; i < std::min<std::size_t>(kScanTop, order.size()); ++i) {
    scan.top_id[i] = order[i];
    scan.top_logit[i] = z[static_cast<std::size_t>(order[i])];
  }
  if (scan.non_finite == 0) {
    const Real largest = static_cast<Real>(scan.top_logit[0]);
    const Real sum = std::accumulate(z.begin(), z.end(), Real{0}, [&](Real total, float value) {
      return total + std::exp(static_cast<Real>(value) - largest);
    });
    out.lse = largest + std::log(sum);
    out.sweep.lse = static_cast<double>(out.lse);
  }
  return out;
}

/// x ln(x / m), 0 at 0.
Real times_log_ratio(Real x, Real m) {
  return x > 0 ? x * std::log(x / m) : 0;
}

/// The sums of one pair before they are rounded.
struct Sums {
  Real kl = 0, reverse_kl = 0, js = 0, tv = 0, d = 0, dd = 0, rr = 0, ss = 0, rs = 0;
  Real x = 0, y = 0, xx = 0, yy = 0, xy = 0, p_x = 0, p_base_y = 0;
};

/// By definition where the rows differ much; near each other by expm1 and ln cosh, so that what is
/// left of a difference does not drown (and equal rows give 0).
void add_divergences(Real p, Real q, Real delta, Sums& sums) {
  if (std::fabs(delta) > Real{0.5}) {
    sums.kl += (q - p) - p * delta;
    sums.reverse_kl += q * delta - (q - p);
    const Real middle = (p + q) / 2;
    sums.js += (times_log_ratio(p, middle) + times_log_ratio(q, middle)) / 2;
    sums.tv += std::fabs(q - p) / 2;
    return;
  }
  const Real e = std::expm1(delta);
  const Real h = delta / 2;
  const Real sinh_half = std::sinh(h / 2);  // ln cosh h = ln(1 + 2 sinh^2(h / 2))
  sums.kl += p * (e - delta);
  sums.reverse_kl += p * (delta * (1 + e) - e);
  sums.js += p * (e * h - (2 + e) * std::log1p(2 * sinh_half * sinh_half)) / 2;
  sums.tv += p * std::fabs(e) / 2;
}

struct PairRows {
  const std::vector<float>& reference;
  const std::vector<float>& subject;
  const std::vector<float>* base;  // null: none
  const Scanned& of_reference;
  const Scanned& of_subject;
  const Scanned* of_base;
};

Sums sums_of(const PairRows& in) {
  Sums sums;
  for (std::size_t v = 0; v < in.reference.size(); ++v) {
    const Real r = static_cast<Real>(in.reference[v]);
    const Real s = static_cast<Real>(in.subject[v]);
    const Real p = std::exp(r - in.of_reference.lse);
    const Real q = std::exp(s - in.of_subject.lse);
    const Real d = s - r;
    add_divergences(p, q, d - (in.of_subject.lse - in.of_reference.lse), sums);
    sums.d += d;
    sums.dd += d * d;
    sums.rr += r * r;
    sums.ss += s * s;
    sums.rs += r * s;
    if (in.base != nullptr) {
      const Real b = static_cast<Real>((*in.base)[v]);
      const Real x = r - b;
      const Real y = s - b;
      sums.x += x;
      sums.y += y;
      sums.xx += x * x;
      sums.yy += y * y;
      sums.xy += x * y;
      sums.p_x += p * x;
      sums.p_base_y += std::exp(b - in.of_base->lse) * y;
    }
  }
  return sums;
}

PairSweep compare(const PairRows& in, std::int32_t next) {
  const auto exact = [](Real value) { return static_cast<double>(value); };
  const Sums sums = sums_of(in);
  PairSweep out;
  out.sums = {exact(sums.kl),
              exact(sums.reverse_kl),
              exact(sums.js),
              exact(sums.tv),
              exact(sums.d),
              exact(sums.dd),
              0,
              0,
              exact(sums.rr),
              exact(sums.ss),
              exact(sums.rs),
              exact(sums.x),
              exact(sums.y),
              exact(sums.xx),
              exact(sums.yy),
              exact(sums.xy),
              exact(sums.p_x),
              exact(sums.p_base_y)};
  const auto at = [](const std::vector<float>& z, std::int32_t token) {
    return z[static_cast<std::size_t>(token)];
  };
  std::vector<double> d(in.reference.size());
  for (std::size_t v = 0; v < d.size(); ++v) {
    d[v] = static_cast<double>(in.subject[v]) - static_cast<double>(in.reference[v]);
  }
  const auto highest = std::max_element(d.begin(), d.end());
  const auto lowest = std::min_element(d.begin(), d.end());
  out.sums.d_max = *highest;
  out.sums.d_min = *lowest;
  out.max_token = static_cast<std::int32_t>(highest - d.begin());
  out.min_token = static_cast<std::int32_t>(lowest - d.begin());
  const std::int32_t first = in.of_reference.sweep.scan.top_id[0];
  out.reference_at_other = at(in.reference, in.of_subject.sweep.scan.top_id[0]);
  out.subject_at_first = at(in.subject, first);
  if (next >= 0) {
    out.reference_at_next = at(in.reference, next);
    out.subject_at_next = at(in.subject, next);
  }
  const Before before{in.subject};
  for (std::int32_t v = 0; v < static_cast<std::int32_t>(d.size()); ++v) {
    out.before_first += before(v, first) ? 1 : 0;
  }
  return out;
}

}  // namespace

bool ReferenceStatistics::reaches(const Mat& x) const {
  return dynamic_cast<const HostBuffer*>(x.buffer) != nullptr;
}

void ReferenceStatistics::sweep_logits(const LogitSweep& sweep, std::span<LaneSweep> lanes,
                                       std::span<PairSweep> pairs) {
  check_sweep(sweep, lanes, pairs);
  const std::int64_t rows = sweep.lanes.empty() ? 0 : sweep.lanes.front().rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    std::vector<std::vector<float>> z;
    std::vector<Scanned> scanned;
    for (std::size_t lane = 0; lane < sweep.lanes.size(); ++lane) {
      z.push_back(floats_of(sweep.lanes[lane], row, sweep.vocabulary));
      scanned.push_back(scan(z.back()));
      lanes[lane * static_cast<std::size_t>(rows) + static_cast<std::size_t>(row)] =
          scanned.back().sweep;
    }
    for (std::size_t i = 0; i < sweep.pairs.size(); ++i) {
      const auto reference = static_cast<std::size_t>(sweep.pairs[i].reference);
      const auto subject = static_cast<std::size_t>(sweep.pairs[i].subject);
      const auto finite = [&](std::size_t lane) {
        return scanned[lane].sweep.scan.non_finite == 0;
      };
      PairSweep& out = pairs[i * static_cast<std::size_t>(rows) + static_cast<std::size_t>(row)];
      out = {};
      if (!finite(reference) || !finite(subject)) {
        continue;
      }
      const bool with_base =
          sweep.pairs[i].base >= 0 && finite(static_cast<std::size_t>(sweep.pairs[i].base));
      const std::size_t base = with_base ? static_cast<std::size_t>(sweep.pairs[i].base) : 0;
      out = compare({.reference = z[reference],
                     .subject = z[subject],
                     .base = with_base ? &z[base] : nullptr,
                     .of_reference = scanned[reference],
                     .of_subject = scanned[subject],
                     .of_base = &scanned[base]},
                    sweep.next_token[static_cast<std::size_t>(row)]);
    }
  }
}

void ReferenceStatistics::squares(Mat subject, Mat reference,
                                  std::span<const std::int32_t> reference_rows,
                                  std::span<RowSquares> out) {
  check_squares(subject, reference, reference_rows, out);
  for (std::int64_t row = 0; row < subject.rows; ++row) {
    const auto i = static_cast<std::size_t>(row);
    const std::vector<float> s = floats_of(subject, row, subject.cols);
    const std::vector<float> r =
        floats_of(reference, reference_rows.empty() ? row : reference_rows[i], reference.cols);
    Real difference = 0;
    Real of_reference = 0;
    Real of_subject = 0;
    for (std::size_t v = 0; v < s.size(); ++v) {
      const Real a = static_cast<Real>(r[v]);
      const Real b = static_cast<Real>(s[v]);
      difference += (b - a) * (b - a);
      of_reference += a * a;
      of_subject += b * b;
    }
    out[i] = {static_cast<double>(difference), static_cast<double>(of_reference),
              static_cast<double>(of_subject)};
  }
}

}  // namespace mg::reference
