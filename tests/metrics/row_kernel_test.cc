#include "harness/metrics/row_kernel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "tests/metrics/row_oracle.h"

namespace mg {
namespace {

using test::compare;
using test::oracle_centred_dot;
using test::oracle_js;
using test::oracle_kl;
using test::oracle_log_softmax;
using test::oracle_lse;
using test::oracle_order;
using test::oracle_tv;
using test::random_row;
using test::Real;
using test::Row;
using test::with_noise;

std::vector<RowPath> paths() {
  std::vector<RowPath> all{RowPath::kPortable};
  if (best_row_path() != RowPath::kPortable) {
    all.push_back(best_row_path());
  }
  return all;
}

// Relative error of a sum of n non-negative terms in double is at most about n/4 * 1.1e-16 per
// accumulator plus a few ulp per term (exp: its argument z - lse, below 100 in size, is rounded to
// 1e-14); 1e-12 covers n = 2000 with room.
constexpr double kRelative = 1e-12;

void expect_close(double actual, Real expected, double relative, double absolute,
                  const char* name) {
  const double bound = relative * std::abs(static_cast<double>(expected)) + absolute;
  EXPECT_TRUE(std::abs(actual - static_cast<double>(expected)) <= bound)
      << name << ": " << actual << " instead of " << static_cast<double>(expected);
}

class RowKernel : public ::testing::TestWithParam<RowPath> {};

INSTANTIATE_TEST_SUITE_P(Paths, RowKernel, ::testing::ValuesIn(paths()), [](const auto& param) {
  return param.param == RowPath::kPortable ? "Portable" : "Avx2";
});

// Three tokens, worked out by hand: p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4).
TEST_P(RowKernel, ThreeTokensByHand) {
  const auto ln2 = std::log(2.0F);
  const Row reference{ln2, 0.0F, 0.0F};
  const Row subject{0.0F, ln2, 0.0F};
  const PairRow row = compare(reference, subject, nullptr, 1, GetParam());
  const double log2 = static_cast<double>(ln2);  // the float nearest to ln 2, off by 1.3e-8
  // KL = 1/2 ln 2 - 1/4 ln 2; the other way the same by symmetry.
  EXPECT_NEAR(row.kl, 0.25 * log2, 1e-8);
  EXPECT_NEAR(row.reverse_kl, 0.25 * log2, 1e-8);
  // u = (3/8, 3/8, 1/4): JS = 1/2 ln(4/3) + 1/4 ln(2/3)
  EXPECT_NEAR(row.js, 0.5 * std::log(4.0 / 3.0) + 0.25 * std::log(2.0 / 3.0), 1e-8);
  EXPECT_NEAR(row.tv, 0.25, 1e-8);
  EXPECT_DOUBLE_EQ(row.max_abs, log2);
  EXPECT_DOUBLE_EQ(row.rms, log2 * std::sqrt(2.0 / 3.0));
  EXPECT_DOUBLE_EQ(row.max_abs_centred, log2);
  EXPECT_DOUBLE_EQ(row.rms_centred, log2 * std::sqrt(2.0 / 3.0));
  EXPECT_EQ(row.cosine, 0.0);
  EXPECT_EQ(row.top5_overlap, 1.0);
  EXPECT_EQ(row.rank, 2.0);
  EXPECT_FALSE(row.agree);
  EXPECT_DOUBLE_EQ(row.flip_gap_reference, log2);
  EXPECT_DOUBLE_EQ(row.flip_gap_subject, log2);
  EXPECT_NEAR(row.confidence, 0.5, 1e-8);
  EXPECT_NEAR(row.nll_reference, std::log(4.0), 2e-8);
  EXPECT_NEAR(row.nll_subject, std::log(2.0), 2e-8);
  EXPECT_NEAR(row.delta_nll, -std::log(2.0), 2e-8);
  EXPECT_NEAR(row.delta_p, 0.25, 1e-8);
}

// Every size of the last partial group, nearly equal to wildly different rows.
TEST_P(RowKernel, AgreesWithThePlainFormulas) {
  std::mt19937_64 random(7);
  for (const std::int64_t V : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 63, 255, 1000, 2003}) {
    for (const float sigma : {1e-5F, 1e-3F, 0.05F, 0.3F, 2.0F, 30.0F}) {
      SCOPED_TRACE(::testing::Message() << "V " << V << ", noise " << sigma);
      const Row reference = random_row(V, random);
      const Row subject = with_noise(reference, sigma, random);
      const Row base = with_noise(reference, 0.7F, random);
      const auto next = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(V));
      const PairRow row = compare(reference, subject, &base, next, GetParam());
      const auto log_p = oracle_log_softmax(reference);
      const auto log_q = oracle_log_softmax(subject);
      const auto log_b = oracle_log_softmax(base);
      // The oracle itself, written without the non-cancelling forms, is good to 1e-18 absolute.  An
      // error e of the difference of log-sum-exps (2e-15) changes KL and JS by e^2/2 only, TV by at
      // most e.
      expect_close(row.kl, oracle_kl(log_p, log_q), kRelative, 1e-17, "kl");
      expect_close(row.reverse_kl, oracle_kl(log_q, log_p), kRelative, 1e-17, "reverse_kl");
      expect_close(row.js, oracle_js(log_p, log_q), kRelative, 1e-17, "js");
      expect_close(row.tv, oracle_tv(log_p, log_q), kRelative, 1e-14, "tv");
      expect_close(row.kl_base, oracle_kl(log_p, log_b), kRelative, 1e-14, "kl_base");
      expect_close(row.kl_base_subject, oracle_kl(log_b, log_q), kRelative, 1e-14,
                   "kl_base_subject");
      const auto at = static_cast<std::size_t>(next);
      expect_close(row.nll_reference, -log_p[at], kRelative, 1e-14, "nll_reference");
      expect_close(row.nll_subject, -log_q[at], kRelative, 1e-14, "nll_subject");
      expect_close(row.delta_nll, log_p[at] - log_q[at], kRelative, 1e-14, "delta_nll");
      expect_close(row.delta_p, std::exp(log_q[at]) - std::exp(log_p[at]), kRelative, 1e-14,
                   "delta_p");
      expect_close(row.slope_xx, oracle_centred_dot(reference, base, reference, base), kRelative,
                   1e-12, "slope_xx");
      expect_close(row.slope_yy, oracle_centred_dot(subject, base, subject, base), kRelative, 1e-12,
                   "slope_yy");
      expect_close(row.slope_xy, oracle_centred_dot(subject, base, reference, base), kRelative,
                   1e-10, "slope_xy");
    }
  }
}

TEST_P(RowKernel, LogitErrorsAgreeWithThePlainFormulas) {
  std::mt19937_64 random(8);
  for (const std::int64_t V : {1, 2, 5, 8, 13, 64, 501}) {
    const Row reference = random_row(V, random);
    Row subject = with_noise(reference, 0.1F, random);
    const std::size_t planted = static_cast<std::size_t>(V) / 2;
    subject[planted] += 9.0F;
    for (float& v : subject) {
      v += 0.25F;  // a constant shift: raw errors see it, centred ones do not
    }
    const PairRow row = compare(reference, subject, nullptr, -1, GetParam());
    Real mean = 0;
    Real squares = 0;
    for (std::size_t v = 0; v < reference.size(); ++v) {
      const Real d = static_cast<Real>(subject[v]) - static_cast<Real>(reference[v]);
      mean += d / static_cast<Real>(V);
      squares += d * d / static_cast<Real>(V);
    }
    const Real largest =
        static_cast<Real>(subject[planted]) - static_cast<Real>(reference[planted]);
    expect_close(row.max_abs, largest, 0, 0, "max_abs");
    EXPECT_EQ(row.max_abs_token, static_cast<std::int32_t>(planted));
    expect_close(row.rms, std::sqrt(squares), kRelative, 0, "rms");
    expect_close(row.rms_centred,
                 std::sqrt(oracle_centred_dot(subject, reference, subject, reference) /
                           static_cast<Real>(V)),
                 kRelative, V == 1 ? 1e-7 : 0, "rms_centred");
    if (V > 2) {
      expect_close(row.max_abs_centred, largest - mean, kRelative, 0, "max_abs_centred");
      EXPECT_EQ(row.max_abs_centred_token, static_cast<std::int32_t>(planted));
    }
  }
}

TEST_P(RowKernel, NegativeExtremesAreFoundToo) {
  std::mt19937_64 random(9);
  const Row reference = random_row(37, random);
  Row subject = reference;
  subject[35] -= 4.0F;
  subject[3] += 1.0F;
  const PairRow row = compare(reference, subject, nullptr, -1, GetParam());
  EXPECT_EQ(row.max_abs_token, 35);
  EXPECT_EQ(row.max_abs_centred_token, 35);
  EXPECT_NEAR(row.max_abs, 4.0, 1e-6);
}

TEST_P(RowKernel, TopEntriesAreThoseOfASort) {
  std::mt19937_64 random(10);
  for (const std::int64_t V : {1, 4, 9, 10, 11, 40, 999}) {
    for (int repeat = 0; repeat < 20; ++repeat) {
      Row z = random_row(V, random);
      for (float& v : z) {
        v = std::round(v);  // many ties
      }
      const LaneRow row = measure_lane(z.data(), V, GetParam());
      const auto order = oracle_order(z);
      for (std::size_t k = 0; k < kTopEntries; ++k) {
        ASSERT_EQ(row.top_id[k], k < order.size() ? order[k] : -1) << "V " << V << ", entry " << k;
      }
      expect_close(row.lse, oracle_lse(z), 1e-15, 1e-15, "lse");
    }
  }
}

TEST_P(RowKernel, RankCountsBeyondTheTopEntries) {
  std::mt19937_64 random(11);
  for (int repeat = 0; repeat < 50; ++repeat) {
    Row reference = random_row(200, random);
    Row subject = random_row(200, random);
    for (float& v : subject) {
      v = std::round(v * 2.0F);
    }
    const auto first = oracle_order(reference)[0];
    const auto order = oracle_order(subject);
    const auto expected = std::find(order.begin(), order.end(), first) - order.begin() + 1;
    EXPECT_EQ(compare(reference, subject, nullptr, -1, GetParam()).rank,
              static_cast<double>(expected));
  }
}

TEST_P(RowKernel, OverlapCountsSharedEntries) {
  Row reference(50, 0.0F);
  Row subject(50, 0.0F);
  for (std::size_t i = 0; i < 10; ++i) {
    reference[i] = 20.0F - static_cast<float>(i);
    subject[i + 2] = 20.0F - static_cast<float>(i);
  }
  const PairRow row = compare(reference, subject, nullptr, -1, GetParam());
  EXPECT_EQ(row.top5_overlap, 3.0 / 5.0);
  EXPECT_EQ(row.top10_overlap, 8.0 / 10.0);
}

// Equal rows must be exactly neutral, not nearly: A/A is a guard.
TEST_P(RowKernel, EqualRowsAreExactlyNeutral) {
  std::mt19937_64 random(12);
  for (const std::int64_t V : {1, 2, 3, 7, 8, 100, 3001}) {
    const Row z = random_row(V, random, 9.0F);
    const Row base = random_row(V, random);
    const PairRow row = compare(z, z, &base, V - 1, GetParam());
    EXPECT_EQ(row.kl, 0.0);
    EXPECT_EQ(row.reverse_kl, 0.0);
    EXPECT_EQ(row.js, 0.0);
    EXPECT_EQ(row.tv, 0.0);
    EXPECT_EQ(row.max_abs, 0.0);
    EXPECT_EQ(row.rms, 0.0);
    EXPECT_EQ(row.max_abs_centred, 0.0);
    EXPECT_EQ(row.rms_centred, 0.0);
    EXPECT_EQ(row.cosine, 1.0);
    EXPECT_EQ(row.top5_overlap, 1.0);
    EXPECT_EQ(row.top10_overlap, 1.0);
    EXPECT_EQ(row.rank, 1.0);
    EXPECT_EQ(row.delta_nll, 0.0);
    EXPECT_EQ(row.delta_p, 0.0);
    EXPECT_TRUE(row.agree);
    EXPECT_EQ(row.slope_xy, row.slope_xx);
    EXPECT_EQ(row.slope_yy, row.slope_xx);
    const PairRow against_base = compare(z, base, &z, -1, GetParam());
    EXPECT_EQ(against_base.kl_base, 0.0);
    EXPECT_EQ(compare(base, z, &z, -1, GetParam()).kl_base_subject, 0.0);
  }
}

// One ulp in one logit out of fifty thousand is still seen, and with the right size.
TEST_P(RowKernel, OneUlpIsNotLost) {
  std::mt19937_64 random(13);
  const Row reference = random_row(49152, random);
  Row subject = reference;
  const auto first = static_cast<std::size_t>(oracle_order(reference)[0]);
  subject[first] = std::nextafter(subject[first], 1e9F);
  const PairRow row = compare(reference, subject, nullptr, -1, GetParam());
  const auto log_p = oracle_log_softmax(reference);
  const Real p = std::exp(log_p[first]);
  const Real d = static_cast<Real>(subject[first]) - static_cast<Real>(reference[first]);
  expect_close(row.kl, d * d * p * (1 - p) / 2, 1e-6, 0,
               "kl");  // the next term is smaller by d = 1e-6
  EXPECT_EQ(row.max_abs_token, static_cast<std::int32_t>(first));
}

// Adding a constant to a row changes no probability.
TEST_P(RowKernel, ConstantShiftIsInvisibleToProbabilities) {
  std::mt19937_64 random(14);
  Row reference = random_row(500, random);
  for (float& v : reference) {
    v = std::round(v * 256.0F) / 256.0F;  // so that adding 64 is exact
  }
  Row subject = reference;
  for (float& v : subject) {
    v += 64.0F;
  }
  const PairRow row = compare(reference, subject, nullptr, 17, GetParam());
  // The two log-sum-exps differ from 64 by a few ulp of 64, 1.4e-14.
  EXPECT_NEAR(row.kl, 0.0, 1e-27);
  EXPECT_NEAR(row.tv, 0.0, 3e-14);
  EXPECT_NEAR(row.delta_nll, 0.0, 3e-14);
  EXPECT_EQ(row.max_abs, 64.0);
  EXPECT_EQ(row.max_abs_centred, 0.0);
  EXPECT_EQ(row.rms_centred, 0.0);
  EXPECT_EQ(row.top10_overlap, 1.0);
}

TEST_P(RowKernel, ExtremeFiniteLogitsStayNumbers) {
  const float huge = std::numeric_limits<float>::max();
  const Row reference{huge, -huge, 0.0F, 1.0F, -1.0F};
  const Row subject{-huge, huge, 0.0F, 1.0F, -1.0F};
  const PairRow row = compare(reference, subject, &reference, 0, GetParam());
  EXPECT_TRUE(row.finite);
  EXPECT_DOUBLE_EQ(row.kl, 2.0 * static_cast<double>(huge));
  EXPECT_NEAR(row.js, std::log(2.0), 1e-15);
  EXPECT_DOUBLE_EQ(row.tv, 1.0);
  EXPECT_DOUBLE_EQ(row.max_abs, 2.0 * static_cast<double>(huge));
  EXPECT_DOUBLE_EQ(row.cosine, -1.0);
  EXPECT_DOUBLE_EQ(row.delta_p, -1.0);
  for (const double value :
       {row.reverse_kl, row.rms, row.rms_centred, row.slope_xx, row.slope_yy}) {
    EXPECT_TRUE(std::isfinite(value));
  }
}

TEST_P(RowKernel, NonFiniteEntriesAreCountedAndLocated) {
  std::mt19937_64 random(15);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::int64_t V : {1, 5, 8, 30, 1000}) {
    for (const float bad : {nan, -nan, inf, -inf}) {
      for (const std::int64_t at : {std::int64_t{0}, V / 2, V - 1}) {
        Row z = random_row(V, random);
        const Row good = z;
        z[static_cast<std::size_t>(at)] = bad;
        z[static_cast<std::size_t>(V - 1)] = bad;
        const LaneRow row = measure_lane(z.data(), V, GetParam());
        EXPECT_FALSE(row.finite());
        EXPECT_EQ(row.non_finite, at == V - 1 ? 1 : 2);
        EXPECT_EQ(row.first_non_finite, at);
        EXPECT_FALSE(compare(good, z, nullptr, 0, GetParam()).finite);
        EXPECT_FALSE(compare(z, good, nullptr, 0, GetParam()).finite);
        EXPECT_TRUE(std::isnan(compare(z, good, nullptr, 0, GetParam()).kl));
        const PairRow with_bad_base = compare(good, good, &z, 0, GetParam());
        EXPECT_TRUE(with_bad_base.finite);
        EXPECT_FALSE(with_bad_base.base_finite);
        EXPECT_TRUE(std::isnan(with_bad_base.kl_base));
        EXPECT_EQ(with_bad_base.kl, 0.0);
      }
    }
  }
}

TEST_P(RowKernel, FlipsKnowTheirDirection) {
  const Row base{3.0F, 1.0F, 0.0F, 0.0F};
  const Row adapter{2.0F, 2.5F, 0.0F, 0.0F};
  const Row like_base{2.9F, 1.1F, 0.0F, 0.0F};
  const Row elsewhere{1.0F, 1.0F, 4.0F, 0.0F};
  EXPECT_TRUE(compare(adapter, like_base, &base, -1, GetParam()).towards_base);
  EXPECT_FALSE(compare(adapter, elsewhere, &base, -1, GetParam()).towards_base);
  EXPECT_FALSE(compare(adapter, adapter, &base, -1, GetParam()).towards_base);
  EXPECT_FALSE(compare(base, base, &base, -1, GetParam()).towards_base);
}

// The two paths may differ in the last bits and nowhere else.
TEST(RowPaths, AgreeToRounding) {
  if (best_row_path() == RowPath::kPortable) {
    GTEST_SKIP() << "this processor has only the portable path";
  }
  std::mt19937_64 random(16);
  const Row reference = random_row(1001, random);
  const Row subject = with_noise(reference, 0.4F, random);
  const PairRow portable = compare(reference, subject, &reference, 5, RowPath::kPortable);
  const PairRow best = compare(reference, subject, &reference, 5, best_row_path());
  EXPECT_NEAR(portable.kl, best.kl, 1e-13 * best.kl);
  EXPECT_NEAR(portable.js, best.js, 1e-13 * best.js);
  EXPECT_NEAR(portable.rms, best.rms, 1e-13 * best.rms);
  EXPECT_EQ(portable.max_abs, best.max_abs);
  EXPECT_EQ(portable.rank, best.rank);
}

}  // namespace
}  // namespace mg
