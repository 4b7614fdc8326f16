#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"
#include "kernels/row_statistics.h"

namespace mg::contract {
namespace {

/// Lanes: a base; a reference, `step` away; a subject, `noise` away from it; the reference again.
struct SweepCase {
  std::int64_t rows;
  std::int64_t vocabulary;
  double spread;  // deviation of the logits
  double step;
  double noise;
  Planted planted = Planted::kNothing;  // into the subject's first row, and into the base's last
};

constexpr LanePair kSweepPairs[] = {{1, 2, 0}, {1, 2, -1}, {2, 1, 0}, {1, 3, 0}, {0, 2, -1}};

std::vector<float> moved(Random& random, std::vector<float> values, double by) {
  for (float& value : values) {
    value += by == 0 ? 0.0F : random.normal(by);
  }
  return values;
}

/// What one backend says of one case.
struct SweepResult {
  std::vector<LaneSweep> lanes;
  std::vector<PairSweep> pairs;
  std::vector<std::vector<float>> logits;  // as the arithmetic has them
  bool intact = false;
};

SweepResult sweep_on(Backend& backend, const SweepCase& c,
                     const std::vector<std::vector<float>>& values,
                     const std::vector<std::int32_t>& next) {
  Stage stage(backend);
  std::vector<Mat> lanes;
  SweepResult out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    // A lane's vocabulary may be padded: what lies beyond must not matter.
    lanes.push_back(stage.put(values[i], c.rows, c.vocabulary));
    out.logits.push_back(stage.get(lanes.back()));
  }
  const auto rows = static_cast<std::size_t>(c.rows);
  out.lanes.resize(lanes.size() * rows);
  out.pairs.resize(std::size(kSweepPairs) * rows);
  backend.row_statistics()->sweep_logits(
      {.lanes = lanes, .vocabulary = c.vocabulary, .pairs = kSweepPairs, .next_token = next},
      out.lanes, out.pairs);
  out.intact = stage.intact();
  return out;
}

/// Gathers numbers of double precision for the one comparator, which takes FP32: the distance in
/// units of what is allowed, against nothing.
class Distances {
 public:
  void add(const char* name, double expected, double actual, double allowed) {
    const double off = std::fabs(actual - expected);
    const double ratio = off == 0 ? 0 : off / allowed;
    ++comparison.elements;
    comparison.same_bits += off == 0 ? 1 : 0;
    if (!(ratio <= comparison.worst_ratio)) {
      comparison.worst_ratio = ratio;
      comparison.worst = comparison.elements - 1;
      comparison.expected = expected;
      comparison.actual = actual;
      comparison.allowed = allowed;
    }
    if (!(ratio <= 1) && failure.empty()) {
      failure = fmt::format("{}: {:.17g}, expected {:.17g}, allowed {:.3g} apart", name, actual,
                            expected, allowed);
    }
    comparison.beyond += ratio <= 1 ? 0 : 1;
  }
  void equal(const char* name, double expected, double actual) { add(name, expected, actual, 0); }

  Comparison comparison;
  std::string failure;
};

/// Sums of magnitudes over a row: what the error of a sum is proportional to.
struct Magnitudes {
  double logit = 0, p_delta = 0, d = 0, rr = 0, ss = 0, rs = 0, x = 0, y = 0, xx = 0, yy = 0;
  double xy = 0, p_x = 0, p_base_y = 0;
};

Magnitudes magnitudes_of(const float* r, const float* s, const float* b, std::int64_t n, double lse,
                         double lse_subject, double lse_base) {
  Magnitudes m;
  for (std::int64_t v = 0; v < n; ++v) {
    const double z = static_cast<double>(r[v]);
    const double w = static_cast<double>(s[v]);
    const double d = w - z;
    const double p = std::exp(z - lse);
    m.logit = std::max({m.logit, std::fabs(z), std::fabs(w)});
    m.p_delta += p * std::fabs(d - (lse_subject - lse));
    m.d += std::fabs(d);
    m.rr += z * z;
    m.ss += w * w;
    m.rs += std::fabs(z * w);
    if (b != nullptr) {
      const double x = z - static_cast<double>(b[v]);
      const double y = w - static_cast<double>(b[v]);
      m.logit = std::max(m.logit, std::fabs(static_cast<double>(b[v])));
      m.x += std::fabs(x);
      m.y += std::fabs(y);
      m.xx += x * x;
      m.yy += y * y;
      m.xy += std::fabs(x * y);
      m.p_x += p * std::fabs(x);
      m.p_base_y += std::exp(static_cast<double>(b[v]) - lse_base) * std::fabs(y);
    }
  }
  return m;
}

void compare_lane(const LaneSweep& expected, const LaneSweep& actual, std::int64_t n,
                  Distances& out) {
  out.equal("count of what is not finite", static_cast<double>(expected.scan.non_finite),
            static_cast<double>(actual.scan.non_finite));
  out.equal("first that is not finite", expected.scan.first_non_finite,
            actual.scan.first_non_finite);
  if (expected.scan.non_finite > 0) {
    return;
  }
  double logit = 0;
  for (int i = 0; i < kScanTop; ++i) {
    out.equal("id among the largest", expected.scan.top_id[i], actual.scan.top_id[i]);
    if (expected.scan.top_id[i] >= 0) {
      out.equal("value among the largest", static_cast<double>(expected.scan.top_logit[i]),
                static_cast<double>(actual.scan.top_logit[i]));
      logit = std::max(logit, std::fabs(static_cast<double>(expected.scan.top_logit[i])));
    }
  }
  // The sum is at least 1, so that its relative error is the logarithm's absolute one.
  out.add("log-sum-exp", expected.lse, actual.lse, row_sum(n, 1, logit) + 4e-16 * std::fabs(logit));
}

void compare_pair(const PairSweep& expected, const PairSweep& actual, std::int64_t n,
                  const Magnitudes& m, Distances& out) {
  const PairSums& e = expected.sums;
  const PairSums& a = actual.sums;
  const auto sum = [&](const char* name, double want, double have, double magnitude) {
    out.add(name, want, have, row_sum(n, magnitude, m.logit));
  };
  // Terms of the divergences are not negative: a divergence is its own magnitude.  What else they
  // may be off by: the oracle's own rounding (2^-64 of p |delta|), and an error of the
  // log-sum-exps, which enters squared in all but TV.
  const double lse = row_sum(n, 1, m.logit);
  const double own = 0x1p-60 * m.p_delta + lse * lse;
  out.add("KL", e.kl, a.kl, row_sum(n, e.kl, m.logit) + own);
  out.add("reverse KL", e.reverse_kl, a.reverse_kl, row_sum(n, e.reverse_kl, m.logit) + own);
  out.add("JS", e.js, a.js, row_sum(n, e.js, m.logit) + own);
  out.add("TV", e.tv, a.tv, row_sum(n, e.tv, m.logit) + (m.d == 0 ? 0 : 2 * lse));
  sum("sum d", e.d, a.d, m.d);
  sum("sum d^2", e.dd, a.dd, e.dd);
  out.equal("largest d", e.d_max, a.d_max);
  out.equal("smallest d", e.d_min, a.d_min);
  sum("|reference|^2", e.rr, a.rr, m.rr);
  sum("|subject|^2", e.ss, a.ss, m.ss);
  sum("<reference, subject>", e.rs, a.rs, m.rs);
  sum("sum x", e.x, a.x, m.x);
  sum("sum y", e.y, a.y, m.y);
  sum("sum x^2", e.xx, a.xx, m.xx);
  sum("sum y^2", e.yy, a.yy, m.yy);
  sum("sum xy", e.xy, a.xy, m.xy);
  sum("sum p x", e.p_x, a.p_x, m.p_x);
  sum("sum p_base y", e.p_base_y, a.p_base_y, m.p_base_y);
  out.equal("token of the largest d", expected.max_token, actual.max_token);
  out.equal("token of the smallest d", expected.min_token, actual.min_token);
  const auto at = [&](const char* name, float want, float have) {
    out.equal(name, static_cast<double>(want), static_cast<double>(have));
  };
  at("reference at the subject's first", expected.reference_at_other, actual.reference_at_other);
  at("subject at the reference's first", expected.subject_at_first, actual.subject_at_first);
  at("reference at the next token", expected.reference_at_next, actual.reference_at_next);
  at("subject at the next token", expected.subject_at_next, actual.subject_at_next);
  out.equal("entries before the reference's first", static_cast<double>(expected.before_first),
            static_cast<double>(actual.before_first));
}

void compare_pairs(const SweepCase& c, const SweepResult& expected, const SweepResult& actual,
                   Distances& out) {
  for (std::size_t i = 0; i < expected.pairs.size(); ++i) {
    const auto rows = static_cast<std::size_t>(c.rows);
    const LanePair& pair = kSweepPairs[i / rows];
    const auto lane = [&](int index) -> const LaneSweep& {
      return expected.lanes[static_cast<std::size_t>(index) * rows + i % rows];
    };
    const auto logits = [&](int index) {
      return expected.logits[static_cast<std::size_t>(index)].data() +
             static_cast<std::int64_t>(i % rows) * c.vocabulary;
    };
    if (lane(pair.reference).scan.non_finite > 0 || lane(pair.subject).scan.non_finite > 0) {
      continue;
    }
    const bool with_base = pair.base >= 0 && lane(pair.base).scan.non_finite == 0;
    const Magnitudes m = magnitudes_of(logits(pair.reference), logits(pair.subject),
                                       with_base ? logits(pair.base) : nullptr, c.vocabulary,
                                       lane(pair.reference).lse, lane(pair.subject).lse,
                                       with_base ? lane(pair.base).lse : 0);
    compare_pair(expected.pairs[i], actual.pairs[i], c.vocabulary, m, out);
  }
}

std::vector<std::vector<float>> lanes_of(const SweepCase& c, Random& random) {
  std::vector<float> base = random.normals(c.rows * c.vocabulary, c.spread);
  for (std::size_t i = 0; i + 1 < base.size(); i += 3) {
    base[i + 1] = base[i];  // ties
  }
  std::vector<float> reference = moved(random, base, c.step);
  std::vector<float> subject = moved(random, reference, c.noise);
  if (c.planted != Planted::kNothing) {
    subject[static_cast<std::size_t>(c.vocabulary / 2)] = planted_value(c.planted);
    subject[static_cast<std::size_t>(c.vocabulary - 1)] = planted_value(c.planted);
    base.back() = planted_value(c.planted);
  }
  return {base, reference, subject, reference};
}

CaseResult run_sweep(const SweepCase& c, const Parties& parties, Random& random) {
  CaseResult result;
  if (parties.subject.row_statistics() == nullptr) {
    return result;  // its rows are read instead
  }
  const std::vector<std::vector<float>> values = lanes_of(c, random);
  std::vector<std::int32_t> next;
  for (std::int64_t row = 0; row < c.rows; ++row) {
    next.push_back(row % 3 == 1 ? -1 : static_cast<std::int32_t>(random.below(c.vocabulary)));
  }
  const SweepResult expected = sweep_on(parties.oracle, c, values, next);
  const SweepResult actual = sweep_on(parties.subject, c, values, next);
  Distances distances;
  for (std::size_t i = 0; i < expected.lanes.size(); ++i) {
    compare_lane(expected.lanes[i], actual.lanes[i], c.vocabulary, distances);
  }
  compare_pairs(c, expected, actual, distances);
  result.comparison = distances.comparison;
  result.failure = actual.intact ? distances.failure : "wrote outside its results";
  return result;
}

struct SquaresCase {
  std::int64_t rows, width;
  double noise;
  bool by_row;  // a row of the reference chosen for each
  Planted planted = Planted::kNothing;
};

CaseResult run_squares(const SquaresCase& c, const Parties& parties, Random& random) {
  CaseResult result;
  if (parties.subject.row_statistics() == nullptr) {
    return result;
  }
  const std::vector<float> reference = random.normals(c.rows * c.width, 3.0);
  std::vector<float> subject = moved(random, reference, c.noise);
  if (c.planted != Planted::kNothing) {
    subject[static_cast<std::size_t>(c.width / 2)] = planted_value(c.planted);
  }
  std::vector<std::int32_t> rows;
  for (std::int64_t row = 0; row < c.rows && c.by_row; ++row) {
    rows.push_back(static_cast<std::int32_t>(random.below(c.rows)));
  }
  const auto apply = [&](Backend& backend) {
    Stage stage(backend);
    std::vector<RowSquares> out(static_cast<std::size_t>(c.rows));
    const Mat x = stage.put(subject, c.rows, c.width);
    backend.row_statistics()->squares(x, stage.put(reference, c.rows, c.width), rows, out);
    return out;
  };
  const std::vector<RowSquares> expected = apply(parties.oracle);
  const std::vector<RowSquares> actual = apply(parties.subject);
  Distances distances;
  const auto one = [&](const char* name, double want, double have) {
    if (!std::isfinite(want)) {
      distances.equal(name, 0, std::isfinite(have) ? 1 : 0);
      return;
    }
    distances.add(name, want, have, row_sum(c.width, want, 0));
  };
  for (std::size_t i = 0; i < expected.size(); ++i) {
    one("|subject - reference|^2", expected[i].difference, actual[i].difference);
    one("|reference|^2", expected[i].reference, actual[i].reference);
    one("|subject|^2", expected[i].subject, actual[i].subject);
  }
  result.comparison = distances.comparison;
  result.failure = distances.failure;
  return result;
}

}  // namespace

void add_row_statistics_cases(Cases& cases) {
  for (const SweepCase& c : {SweepCase{0, 5, 1.0, 0.1, 0.01},
                             {1, 1, 1.0, 0.1, 0.01},
                             {3, 7, 2.0, 0.3, 1e-3},
                             {2, 255, 2.0, 0.3, 1e-3},
                             {5, 257, 4.0, 0.5, 1e-4},
                             {2, 1031, 4.0, 3.0, 2.0},
                             {2, 1024, 30.0, 8.0, 20.0},
                             {2, 4099, 8.0, 0.5, 1e-6},
                             {3, 300, 2.0, 0.0, 0.0},
                             {3, 300, 2.0, 0.3, 0.01, Planted::kNan},
                             {3, 300, 2.0, 0.3, 0.01, Planted::kInf},
                             {3, 300, 2.0, 0.3, 0.01, Planted::kMinusInf}}) {
    add_case(cases, "sweep_logits",
             fmt::format("T{} V{} spread {} step {} noise {}{}", c.rows, c.vocabulary, c.spread,
                         c.step, c.noise, planted_name(c.planted)),
             [c](const Parties& p, Random& random) { return run_sweep(c, p, random); });
  }
  for (const SquaresCase& c : {SquaresCase{0, 4, 0.1, false},
                               {1, 1, 0.1, false},
                               {3, 31, 0.1, true},
                               {9, 64, 1e-3, false},
                               {17, 1000, 0.0, false},
                               {17, 1000, 5.0, true},
                               {5, 96, 0.1, true, Planted::kNan},
                               {5, 96, 0.1, false, Planted::kInf}}) {
    add_case(cases, "squares",
             fmt::format("T{} H{} noise {}{}{}", c.rows, c.width, c.noise,
                         c.by_row ? " by row" : "", planted_name(c.planted)),
             [c](const Parties& p, Random& random) { return run_squares(c, p, random); });
  }
}

}  // namespace mg::contract
