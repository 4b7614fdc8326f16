#include "harness/metrics/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "harness/metrics/distributions.h"
#include "harness/metrics/equivalence.h"
#include "harness/metrics/quantile.h"
#include "harness/metrics/random.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

// Literals marked (scipy) were printed by scipy 1.17.1 / numpy 2.4.6 with the expression beside
// them.

// Thirty prompt means, and a second column that goes with them: numpy's default_rng(5) and (6),
// rounded to 4 digits.
const std::vector<double> kX{0.4485, 0.266,  0.7801, 1.5226, 3.1144, 1.116,  0.5754, 0.4562,
                             2.1143, 5.1283, 1.3136, 0.2913, 0.3836, 4.9531, 1.2249, 0.1769,
                             0.9197, 0.3125, 0.533,  0.6138, 0.49,   1.7391, 0.9389, 0.5546,
                             1.5063, 2.293,  0.1934, 0.7736, 0.375,  0.841};
const std::vector<double> kY{0.6424, 0.642,  0.5284, 0.7976, 1.1736, 0.7908, 0.6478, 0.6661,
                             0.9374, 1.5532, 0.7717, 0.5046, 0.5344, 1.5096, 0.716,  0.599,
                             0.7486, 0.6524, 0.6053, 0.6919, 0.5527, 0.807,  0.6918, 0.625,
                             0.7213, 0.8721, 0.5564, 0.6116, 0.6354, 0.6879};

ClusterTable table_of(const std::vector<double>& first, const std::vector<double>& second) {
  ClusterTable table(static_cast<std::int64_t>(first.size()), 2);
  for (std::size_t c = 0; c < first.size(); ++c) {
    table.row(static_cast<std::int64_t>(c))[0] = first[c];
    table.row(static_cast<std::int64_t>(c))[1] = second[c];
  }
  return table;
}

std::vector<double> ones(std::size_t n) {
  return std::vector<double>(n, 1.0);
}

TEST(Distributions, EqualScipy) {
  EXPECT_NEAR(student_t_quantile(0.975, 4), 2.7764451051977934, 1e-13);  // (scipy) t.ppf(.975, 4)
  EXPECT_NEAR(student_t_quantile(0.95, 19), 1.7291328115213682, 1e-13);  // (scipy) t.ppf(.95, 19)
  EXPECT_NEAR(student_t_quantile(0.975, 39), 2.022690920036761, 1e-13);  // (scipy) t.ppf(.975, 39)
  EXPECT_NEAR(student_t_quantile(0.95, 1), 6.313751514675037, 1e-13);    // (scipy) t.ppf(.95, 1)
  EXPECT_NEAR(student_t_quantile(0.05, 7), -1.8945786050900066, 1e-13);  // (scipy) t.ppf(.05, 7)
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-14);         // (scipy) norm.ppf(.975)
  EXPECT_NEAR(normal_quantile(0.001), -3.090232306167813, 1e-14);        // (scipy) norm.ppf(.001)
  EXPECT_NEAR(normal_cdf(-1.3), 0.09680048458561036, 1e-15);             // (scipy) norm.cdf(-1.3)
  EXPECT_NEAR(normal_cdf(2.5), 0.9937903346742238, 1e-15);               // (scipy) norm.cdf(2.5)
}

TEST(Quantile, InterpolatesLikeNumpy) {
  const std::vector<double> sorted{1, 2, 3.5, 4, 5, 7, 8};
  // (numpy) quantile([5,1,4,2,8,3.5,7], q)
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 0.0), 1.0);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 0.1), 1.6);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 0.5), 4.0);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 0.9), 7.4);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 0.95), 7.7);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 0.99), 7.94);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(sorted, 1.0), 8.0);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(std::vector<double>{3.0}, 0.99), 3.0);
}

TEST(Quantile, NeedsAHundredRowsBeyondIt) {
  EXPECT_FALSE(quantile_allowed(9'999, 0.99));
  EXPECT_TRUE(quantile_allowed(10'000, 0.99));
  EXPECT_FALSE(quantile_allowed(99'999, 0.999));
  EXPECT_TRUE(quantile_allowed(100'000, 0.999));
  EXPECT_EQ(guarded_quantile(std::vector<double>(9'999, 1.0), 0.99), std::nullopt);
  EXPECT_EQ(guarded_quantile(std::vector<double>(10'000, 1.0), 0.99), 1.0);
  EXPECT_EQ(guarded_quantile({}, 0.5), std::nullopt);
}

TEST(SplitMix, GivesThePublishedSequence) {
  // First outputs of the published C code for state 1234567 (prng.di.unimi.it/splitmix64.c).
  SplitMix64 random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317ULL);
  EXPECT_EQ(random.next(), 3203168211198807973ULL);
  EXPECT_EQ(random.next(), 9817491932198370423ULL);
}

TEST(SplitMix, DrawsEveryClusterAboutEquallyOften) {
  std::vector<int> seen(7, 0);
  for (std::int64_t replicate = 0; replicate < 1000; ++replicate) {
    SplitMix64 random = replicate_stream(3, replicate);
    for (int i = 0; i < 7; ++i) {
      ++seen[static_cast<std::size_t>(random.below(7))];
    }
  }
  for (const int count : seen) {
    EXPECT_NEAR(count, 1000, 5 * std::sqrt(1000.0 * 6.0 / 7.0));  // five standard deviations
  }
}

// Six prompts of different length, worked out with numpy:
//   S = [3.1,.4,5.6,2.2,9.9,1.3], n = [10,4,12,8,20,6], xbar = S.sum()/n.sum()
//   se = sqrt(6/5*((S-n*xbar)**2).sum())/n.sum()
class SixPrompts : public ::testing::Test {
 protected:
  const std::vector<double> sums_{3.1, 0.4, 5.6, 2.2, 9.9, 1.3};
  const std::vector<double> counts_{10, 4, 12, 8, 20, 6};
  const ClusterTable table_ = table_of(sums_, counts_);
};

TEST_F(SixPrompts, ClusteredStandardError) {
  EXPECT_NEAR(*clustered_se(sums_, counts_), 0.0581520994175332, 1e-15);
}

TEST_F(SixPrompts, SignedMeansGetATInterval) {
  const auto estimate = estimate_mean(table_, 0, 1, Sign::kSigned, nullptr);
  EXPECT_DOUBLE_EQ(estimate->value, 0.375);
  EXPECT_EQ(estimate->method, IntervalMethod::kT);
  EXPECT_NEAR(estimate->ci95->lower, 0.2255152695331721,
              1e-12);  // (scipy) xbar -+ t.ppf(.975,5)*se
  EXPECT_NEAR(estimate->ci95->upper, 0.524484730466828, 1e-12);
}

TEST_F(SixPrompts, NonNegativeMeansGetALogTInterval) {
  const auto estimate = estimate_mean(table_, 0, 1, Sign::kNonNegative, nullptr);
  EXPECT_EQ(estimate->method, IntervalMethod::kLogT);
  EXPECT_NEAR(estimate->ci95->lower, 0.2517156501649865,
              1e-12);  // (scipy) xbar * exp(-+ t*se/xbar)
  EXPECT_NEAR(estimate->ci95->upper, 0.5586660976694444, 1e-12);
  EXPECT_NEAR(estimate->ci90->lower, 0.2743618650434552, 1e-12);
  EXPECT_NEAR(estimate->ci90->upper, 0.5125530108848289, 1e-12);
}

TEST_F(SixPrompts, FewerThanFiveGiveNoInterval) {
  const ClusterTable four = table_of({1, 2, 3, 4}, {1, 1, 1, 1});
  for (const Sign sign : {Sign::kSigned, Sign::kNonNegative, Sign::kShare}) {
    const auto estimate = estimate_mean(four, 0, 1, sign, nullptr);
    EXPECT_DOUBLE_EQ(estimate->value, 2.5);
    EXPECT_FALSE(estimate->ci95.has_value());
    EXPECT_FALSE(estimate->ci90.has_value());
    EXPECT_EQ(estimate->method, IntervalMethod::kNone);
  }
}

TEST(EstimateMean, PromptsWithoutRowsAreNoClusters) {
  const ClusterTable table = table_of({1, 2, 3, 4, 0, 0}, {1, 1, 1, 1, 0, 0});
  EXPECT_FALSE(estimate_mean(table, 0, 1, Sign::kSigned, nullptr)->ci95.has_value());
  EXPECT_FALSE(estimate_mean(table_of({0, 0}, {0, 0}), 0, 1, Sign::kSigned, nullptr).has_value());
}

TEST(EstimateMean, AShareWithoutAnEventIsNotCertain) {
  const ClusterTable none = table_of({0, 0, 0, 0, 0}, {20, 20, 20, 20, 20});
  const auto flips = estimate_mean(none, 0, 1, Sign::kShare, nullptr);
  EXPECT_EQ(flips->method, IntervalMethod::kRuleOfThree);
  EXPECT_EQ(*flips->ci90, (Interval{0.0, 0.03}));  // 3 / 100
  const ClusterTable all = table_of({20, 20, 20, 20, 20}, {20, 20, 20, 20, 20});
  EXPECT_EQ(*estimate_mean(all, 0, 1, Sign::kShare, nullptr)->ci90, (Interval{0.97, 1.0}));
}

TEST(EstimateMean, ConstantsAreExact) {
  const ClusterTable table = table_of(std::vector<double>(8, 0.1), ones(8));
  const auto estimate = estimate_mean(table, 0, 1, Sign::kNonNegative, nullptr);
  EXPECT_EQ(estimate->method, IntervalMethod::kExact);
  EXPECT_EQ(*estimate->se, 0.0);
  EXPECT_EQ(estimate->ci95->lower, estimate->ci95->upper);
}

// Fixed replicates and leave-one-out values; the expected interval is BCa's definition in numpy:
//   z0 = norm.ppf((sum(rep < v) + .5 sum(rep == v)) / B);  d = loo.mean() - loo
//   a = (d**3).sum() / (6 (d**2).sum()**1.5);  ends = quantile(rep, norm.cdf(z0 + z/(1 - a z))), z
//   = z0 -+ 1.96
TEST(Bca, FollowsItsDefinition) {
  const std::vector<double> replicates{1.02, 0.95, 1.10, 1.25, 0.88, 1.05, 1.31, 0.99, 1.17, 1.08,
                                       0.91, 1.22, 1.01, 1.4,  0.97, 1.13, 1.06, 0.93, 1.28, 1.0};
  const std::vector<double> leave_one_out{1.01, 1.08, 0.99, 1.12, 1.03, 0.97};
  const auto ci95 = bca_interval(1.03, replicates, leave_one_out, 0.95);
  EXPECT_NEAR(ci95->lower, 0.8851398036688779, 1e-13);
  EXPECT_NEAR(ci95->upper, 1.30903287988955, 1e-13);
  const auto ci90 = bca_interval(1.03, replicates, leave_one_out, 0.90);
  EXPECT_NEAR(ci90->lower, 0.8927941346376931, 1e-13);
  EXPECT_NEAR(ci90->upper, 1.286868569416944, 1e-13);
}

TEST(Bca, LeavesOutWhatIsNotANumberAndSurvivesExtremes) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(bca_interval(1.0, {nan, nan}, std::vector<double>{1, 1}, 0.95), std::nullopt);
  const auto low = bca_interval(0.0, {1, 2, 3, nan}, std::vector<double>{1, 2, 4}, 0.95);
  EXPECT_TRUE(std::isfinite(low->lower) && std::isfinite(low->upper));
}

// (scipy) stats.bootstrap((x,), np.mean, n_resamples=400000, method='BCa', rng=default_rng(1)):
// [0.85626, 1.79270] at 95 %, [0.90217, 1.67945] at 90 %.  Two runs of 10,000 and 400,000
// replicates differ by the Monte-Carlo error of a quantile near the 2.5 % tail, about sqrt(p (1-p)
// / B) / density = 0.5 % of the width per sigma at the far end; 0.03 is over five of them.
TEST(Bootstrap, MeanAgreesWithScipy) {
  ThreadPool pool(1);
  const ClusterTable table = table_of(kX, ones(kX.size()));
  const ClusterTable drawn = bootstrap_totals(table, {}, pool);
  const auto estimate = estimate_mean(table, 0, 1, Sign::kNonNegative, &drawn);
  EXPECT_EQ(estimate->method, IntervalMethod::kBca);
  EXPECT_NEAR(estimate->value, 1.1983033333333333, 1e-14);
  EXPECT_NEAR(estimate->ci95->lower, 0.85626, 0.03);
  EXPECT_NEAR(estimate->ci95->upper, 1.79270, 0.03);
  EXPECT_NEAR(estimate->ci90->lower, 0.90217, 0.03);
  EXPECT_NEAR(estimate->ci90->upper, 1.67945, 0.03);
}

// (scipy) the same with statistic sum(x)/sum(y), paired: [1.24985, 2.06553]; jackknife SE
// 0.21534077472011404.
TEST(Bootstrap, RatioDrawsNumeratorAndDenominatorTogether) {
  ThreadPool pool(1);
  const ClusterTable table = table_of(kX, kY);
  const ClusterTable drawn = bootstrap_totals(table, {}, pool);
  const auto estimate = estimate_statistic(
      table, [](std::span<const double> sums) { return sums[0] / sums[1]; }, Sign::kNonNegative,
      &drawn);
  EXPECT_NEAR(estimate->value, 1.5995861884844713, 1e-14);
  EXPECT_NEAR(*estimate->se, 0.21534077472011404, 1e-13);
  EXPECT_NEAR(estimate->ci95->lower, 1.24985, 0.03);
  EXPECT_NEAR(estimate->ci95->upper, 2.06553, 0.03);
}

TEST(Bootstrap, ReplicatesDoNotDependOnThreads) {
  const ClusterTable table = table_of(kX, kY);
  ThreadPool one(1);
  ThreadPool three(3);
  const BootstrapPlan plan{1000, 99};
  EXPECT_EQ(bootstrap_totals(table, plan, one).values, bootstrap_totals(table, plan, three).values);
  EXPECT_NE(bootstrap_totals(table, plan, one).values,
            bootstrap_totals(table, {1000, 100}, one).values);
}

TEST(EstimateStatistic, UndefinedIsNothing) {
  const ClusterTable table = table_of({1, 2}, {0, 0});
  EXPECT_FALSE(estimate_statistic(
                   table, [](std::span<const double> sums) { return sums[0] / sums[1]; },
                   Sign::kSigned, nullptr)
                   .has_value());
}

// Below 20 prompts a ratio gets a t interval from the jackknife.
TEST(EstimateStatistic, FewPromptsUseTheJackknife) {
  const ClusterTable table = table_of({kX.begin(), kX.begin() + 8}, {kY.begin(), kY.begin() + 8});
  const auto estimate = estimate_statistic(
      table, [](std::span<const double> sums) { return sums[0] / sums[1]; }, Sign::kSigned,
      nullptr);
  EXPECT_EQ(estimate->method, IntervalMethod::kT);
  const double t = student_t_quantile(0.975, 7);
  EXPECT_NEAR(estimate->ci95->upper, estimate->value + t * *estimate->se, 1e-14);
}

TEST(QuantileInterval, CoversAndShrinks) {
  ThreadPool pool(1);
  std::vector<double> values;
  std::vector<std::int32_t> cluster;
  SplitMix64 random(5);
  for (int i = 0; i < 4000; ++i) {
    values.push_back(static_cast<double>(random.below(1'000'000)) * 1e-6);
    cluster.push_back(static_cast<std::int32_t>(i % 40));
  }
  const auto interval = quantile_interval(values, cluster, 40, 0.9, 0.95, {2000, 1}, pool);
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  const double value = quantile_of_sorted(sorted, 0.9);
  // Independent uniforms: the SE of the 0.9 quantile is sqrt(.9 * .1 / 4000) = 0.0047; the
  // interval's half-widths are 1.96 of it, and vary by a third because the density near one
  // quantile of 4000 points is itself an estimate.
  EXPECT_NEAR(value - interval->lower, 1.96 * 0.0047, 0.0035);
  EXPECT_NEAR(interval->upper - value, 1.96 * 0.0047, 0.0035);
  EXPECT_THROW(quantile_interval(values, cluster, 19, 0.9, 0.95, {2000, 1}, pool), Error);
  for (std::int32_t& c : cluster) {
    c %= 19;  // one prompt fewer than the bootstrap wants
  }
  EXPECT_EQ(quantile_interval(values, cluster, 19, 0.9, 0.95, {2000, 1}, pool), std::nullopt);
}

// One replicate that draws every cluster once must give back NumPy's quantile of the pool; with all
// clusters equal every replicate is such a pool.
TEST(QuantileInterval, EqualClustersGiveThePoolsOwnQuantile) {
  ThreadPool pool(2);
  std::vector<double> values;
  std::vector<std::int32_t> cluster;
  for (std::int32_t c = 0; c < 20; ++c) {
    for (int i = 0; i < 7; ++i) {
      values.push_back(i);
      cluster.push_back(c);
    }
  }
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  for (const double q : {0.5, 0.9, 0.99}) {
    const double expected = quantile_of_sorted(sorted, q);
    const auto interval = quantile_interval(values, cluster, 20, q, 0.95, {100, 1}, pool);
    EXPECT_NEAR(interval->lower, expected, 1e-12) << q;
    EXPECT_NEAR(interval->upper, expected, 1e-12) << q;
  }
}

TEST(Decide, TwoSided) {
  EXPECT_EQ(decide_two_sided({-0.001, 0.0015}, -0.002, 0.002), Decision::kInside);
  EXPECT_EQ(decide_two_sided({-0.001, 0.0025}, -0.002, 0.002), Decision::kUndecided);
  EXPECT_EQ(decide_two_sided({-0.003, 0.003}, -0.002, 0.002), Decision::kUndecided);
  EXPECT_EQ(decide_two_sided({0.0021, 0.0025}, -0.002, 0.002), Decision::kOutside);
  EXPECT_EQ(decide_two_sided({-0.0025, -0.0021}, -0.002, 0.002), Decision::kOutside);
  EXPECT_EQ(decide_two_sided({-0.002, 0.001}, -0.002, 0.002), Decision::kUndecided);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(decide_two_sided({nan, nan}, -1, 1), Decision::kUndecided);
}

TEST(Decide, Upper) {
  EXPECT_EQ(decide_upper({0.1, 0.2}, 0.2), Decision::kInside);
  EXPECT_EQ(decide_upper({0.1, 0.3}, 0.2), Decision::kUndecided);
  EXPECT_EQ(decide_upper({0.2, 0.3}, 0.2), Decision::kUndecided);
  EXPECT_EQ(decide_upper({0.21, 0.3}, 0.2), Decision::kOutside);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(decide_upper({nan, nan}, 1), Decision::kUndecided);
}

TEST(Power, FollowsItsFormulas) {
  // (scipy) 2*norm.cdf(.002/.0005 - t.ppf(.95, 39)) - 1
  EXPECT_NEAR(equivalence_power(0.0005, 0.002, 40), 0.9793939011174957, 1e-12);
  // (scipy) norm.cdf(1e-4/4e-5 - t.ppf(.95, 19))
  EXPECT_NEAR(upper_bound_power(4e-5, 1e-4, 0.0, 20), 0.7796071713266688, 1e-12);
  EXPECT_EQ(equivalence_power(1.0, 1e-6, 40), 0.0);
  EXPECT_EQ(equivalence_power(0.0, 1e-6, 40), 1.0);
  EXPECT_EQ(upper_bound_power(0.1, 1.0, 0.0, 1), 0.0);
}

TEST(PromptsNeeded, FollowsItsFormulas) {
  // sigma = se sqrt(40): 8.5638 (sigma / margin)^2 = 8.5638 * 40 * 4 = 1370.2
  EXPECT_EQ(prompts_for_equivalence(0.002, 40, 0.001), 1371);
  // 6.1826 * 40 * (1/2)^2 = 61.8
  EXPECT_EQ(prompts_for_bound(0.001, 40, 0.003, 0.005), 62);
  EXPECT_EQ(prompts_for_bound(0.001, 40, 0.005, 0.005),
            std::nullopt);  // no sample tells equals apart
}

TEST(RuleOfThree, IsThreeOverN) {
  EXPECT_DOUBLE_EQ(rule_of_three_bound(300), 0.01);
  EXPECT_DOUBLE_EQ(rule_of_three_bound(2), 1.0);
  EXPECT_DOUBLE_EQ(rule_of_three_bound(0), 1.0);
}

}  // namespace
}  // namespace mg
