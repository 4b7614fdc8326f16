#include "harness/metrics/summary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/core/error.h"
#include "tests/metrics/synthetic_suite.h"

namespace mg {
namespace {

using test::LaneLogits;
using test::Row;
using test::SyntheticSuite;

LaneLogits mix(const SyntheticSuite& suite, float share) {
  LaneLogits out = suite.base;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] += share * (suite.reference[i] - suite.base[i]);
  }
  return out;
}

TEST(NextTokens, RowPredictsTheFollowingToken) {
  const std::vector<std::int32_t> ids{5, 6, 7, 8};
  EXPECT_EQ(next_tokens_of(ids), (std::vector<std::int32_t>{6, 7, 8, -1}));
  EXPECT_EQ(next_tokens_of(ids, 3), (std::vector<std::int32_t>{-1, -1, 8, -1}));
  EXPECT_EQ(next_tokens_of(ids, 0), next_tokens_of(ids, 1));
  EXPECT_EQ(next_tokens_of(std::vector<std::int32_t>{5}), (std::vector<std::int32_t>{-1}));
  EXPECT_TRUE(next_tokens_of({}).empty());
}

TEST(RowLayout, FindsPromptsAndPositions) {
  const RowLayout layout({{"a", 2, {4, -1}}, {"empty", 0, {}}, {"b", 3, {}}});
  EXPECT_EQ(layout.rows(), 5);
  EXPECT_EQ(layout.scored_rows(), 1);
  EXPECT_EQ(layout.prompt_of(1), 0);
  EXPECT_EQ(layout.prompt_of(2), 2);
  EXPECT_EQ(layout.position_of(4), 2);
  EXPECT_EQ(layout.next_token(0), 4);
  EXPECT_EQ(layout.next_token(1), -1);
  EXPECT_EQ(layout.next_token(3), -1);
  EXPECT_THROW(RowLayout({{"a", 2, {4}}}), Error);
}

TEST(Accumulator, RefusesRowsTwiceAndTooMany) {
  const SyntheticSuite suite(2, 2, 5);
  MetricAccumulator rows = suite.accumulate(suite.reference);
  ThreadPool pool(1);
  const std::vector<LogitRows> lanes{
      {suite.base.data(), 5}, {suite.reference.data(), 5}, {suite.reference.data(), 5}};
  EXPECT_THROW(rows.add_rows(1, 1, lanes, pool), Error);
  EXPECT_THROW(rows.add_rows(4, 1, lanes, pool), Error);
  MetricAccumulator empty(suite.layout(), 5, {"a", "b"}, {{0, 1, -1}});
  EXPECT_FALSE(empty.complete());
  EXPECT_THROW(summarise(empty, 0, {}, pool), Error);
  EXPECT_THROW(MetricAccumulator(suite.layout(), 5, {"a"}, {{0, 1, -1}}), Error);
}

// Everything a run reports, bit for bit.
void expect_same_bits(const Comparison& left, const Comparison& right) {
  ASSERT_EQ(left.metrics.size(), right.metrics.size());
  for (std::size_t m = 0; m < left.metrics.size(); ++m) {
    const MetricSummary& l = left.metrics[m].summary;
    const MetricSummary& r = right.metrics[m].summary;
    EXPECT_EQ(l.mean, r.mean) << left.metrics[m].name;
    EXPECT_EQ(l.ci95, r.ci95) << left.metrics[m].name;
    EXPECT_EQ(l.ci90, r.ci90) << left.metrics[m].name;
    EXPECT_EQ(l.se, r.se) << left.metrics[m].name;
    EXPECT_EQ(l.p50, r.p50) << left.metrics[m].name;
    EXPECT_EQ(l.max, r.max) << left.metrics[m].name;
    EXPECT_EQ(l.worst, r.worst) << left.metrics[m].name;
  }
  EXPECT_EQ(left.ratios.mer.value, right.ratios.mer.value);
  EXPECT_EQ(left.ratios.mer.ci95, right.ratios.mer.ci95);
  EXPECT_EQ(left.ratios.slope.ci95, right.ratios.slope.ci95);
  EXPECT_EQ(left.flips.real, right.flips.real);
}

TEST(Determinism, AnyChunkAndAnyNumberOfThreadsGiveTheSameBits) {
  const SyntheticSuite suite(21, 9, 67);
  const LaneLogits subject = mix(suite, 0.97F);
  ThreadPool one(1);
  const Comparison expected = summarise(suite.accumulate(subject), 0, {}, one);
  for (const std::int64_t chunk : {1, 2, 7, 64, 1000}) {
    for (const int threads : {1, 2, 3}) {
      SCOPED_TRACE(::testing::Message() << "chunk " << chunk << ", threads " << threads);
      ThreadPool pool(threads);
      expect_same_bits(summarise(suite.accumulate(subject, chunk, threads), 0, {}, pool), expected);
    }
  }
}

TEST(Determinism, OrderOfChunksAndPaddedRowsDoNotMatter) {
  const SyntheticSuite suite(20, 4, 13);
  const LaneLogits subject = mix(suite, 0.9F);
  ThreadPool pool(1);
  const std::int64_t stride = 16;
  LaneLogits padded(static_cast<std::size_t>(suite.rows() * stride), 1e30F);
  for (std::int64_t row = 0; row < suite.rows(); ++row) {
    std::copy_n(subject.begin() + row * suite.V, suite.V, padded.begin() + row * stride);
  }
  MetricAccumulator rows(suite.layout(), suite.V, {"base", "adapter", "merged"}, {{1, 2, 0}});
  for (std::int64_t row = suite.rows() - 1; row >= 0; --row) {
    const std::vector<LogitRows> lanes{{suite.base.data() + row * suite.V, suite.V},
                                       {suite.reference.data() + row * suite.V, suite.V},
                                       {padded.data() + row * stride, stride}};
    rows.add_rows(row, 1, lanes, pool);
  }
  expect_same_bits(summarise(rows, 0, {}, pool), summarise(suite.accumulate(subject), 0, {}, pool));
}

// What was merged can be read off the ratios.
TEST(Ratios, NameWhatWasMerged) {
  const SyntheticSuite suite;
  struct Case {
    float share;
    double slope;
  };
  for (const Case& c : {Case{0.0F, 0.0}, Case{0.5F, 0.5}, Case{1.0F, 1.0}, Case{2.0F, 2.0}}) {
    const Ratios ratios = suite.compare(mix(suite, c.share)).ratios;
    // Logits near 10 are rounded to 5e-7 where differences are near 0.5: 1e-6 relative, less after
    // averaging.
    EXPECT_NEAR(*ratios.slope.value, c.slope, 1e-6) << c.share;
    if (c.share > 0.0F) {
      EXPECT_NEAR(*ratios.r2.value, 1.0, 1e-6) << c.share;
    }
  }
  const Ratios unmerged = suite.compare(suite.base).ratios;
  // KL of the same two rows by two different formulas.
  EXPECT_NEAR(*unmerged.mer.value, 1.0, 1e-12);
  EXPECT_EQ(unmerged.r2.value, std::nullopt);  // nothing moved, so nothing can be explained
  EXPECT_EQ(*unmerged.slope.value, 0.0);
}

// Two prompts of three rows and three tokens, by hand.
class ByHand : public ::testing::Test {
 protected:
  ByHand() {
    const float ln2 = std::log(2.0F);
    const Row even{0.0F, 0.0F, 0.0F};
    const Row first{ln2, 0.0F, 0.0F};   // 1/2 1/4 1/4
    const Row second{0.0F, ln2, 0.0F};  // 1/4 1/2 1/4
    add(first, first, first);           // the same
    add(first, second, second);         // KL 1/4 ln 2; towards the base
    add(first, second, first);          // elsewhere
    add(even, even, even);
    add(first, first, second);
    add(first, second, even);  // ties go to the smaller id: the base's first token is 0
  }

  void add(const Row& reference, const Row& subject, const Row& base) {
    reference_.insert(reference_.end(), reference.begin(), reference.end());
    subject_.insert(subject_.end(), subject.begin(), subject.end());
    base_.insert(base_.end(), base.begin(), base.end());
  }

  Comparison compare(double flip_margin, const std::vector<SliceSpec>& slices = {}) const {
    const RowLayout layout({{"p", 3, {0, 1, -1}}, {"q", 3, {2, 0, -1}}});
    MetricAccumulator rows(layout, 3, {"base", "adapter", "merged"}, {{1, 2, 0}});
    ThreadPool pool(1);
    rows.add_rows(
        0, 6,
        std::vector<LogitRows>{{base_.data(), 3}, {reference_.data(), 3}, {subject_.data(), 3}},
        pool);
    SummaryOptions options;
    options.context.flip_margin = flip_margin;
    options.slices = slices;
    return summarise(rows, 0, options, pool);
  }

  LaneLogits reference_;
  LaneLogits subject_;
  LaneLogits base_;
  const double kl_ = 0.25 * std::log(2.0);  // of (1/2,1/4,1/4) and (1/4,1/2,1/4)
};

TEST_F(ByHand, MeansPercentilesAndPlaces) {
  const Comparison comparison = compare(0.1);
  EXPECT_EQ(comparison.reference, "adapter");
  EXPECT_EQ(comparison.subject, "merged");
  EXPECT_EQ(comparison.prompts, 2);
  EXPECT_EQ(comparison.tokens, 6);
  EXPECT_EQ(comparison.scored_tokens, 4);
  const MetricSummary& kl = *find_metric(comparison.metrics, "kl");
  EXPECT_NEAR(*kl.mean, 0.5 * kl_, 1e-8);
  EXPECT_NEAR(*kl.p50, 0.5 * kl_, 1e-8);  // between the third (0) and the fourth (kl_)
  EXPECT_NEAR(*kl.p90, kl_, 1e-8);
  EXPECT_EQ(kl.p99, std::nullopt);
  EXPECT_EQ(kl.p999, std::nullopt);
  EXPECT_EQ(*kl.min, 0.0);
  EXPECT_EQ(kl.count, 6);
  EXPECT_EQ(kl.prompts, 2);
  EXPECT_EQ(kl.ci95, std::nullopt);  // two prompts
  EXPECT_EQ(kl.worst->prompt, "p");
  EXPECT_EQ(kl.worst->position, 1);  // the first of equals
  EXPECT_EQ(*find_metric(comparison.metrics, "top1_agreement")->mean, 0.5);
  EXPECT_EQ(*find_metric(comparison.metrics, "rank")->max, 2.0);
  // Row 1 of p: token 1 went from 1/4 to 1/2.  All other given tokens stay.
  const MetricSummary& delta_nll = *find_metric(comparison.metrics, "delta_nll");
  EXPECT_EQ(delta_nll.count, 4);
  EXPECT_NEAR(*delta_nll.mean, -std::log(2.0) / 4.0, 1e-7);
  EXPECT_NEAR(*comparison.ratios.perplexity_ratio.value, std::pow(2.0, -0.25), 1e-7);
}

TEST_F(ByHand, FlipsByMarginAndDirection) {
  const Flips real = compare(0.1).flips;  // both gaps are ln 2 = 0.69
  EXPECT_EQ(real.near_tie, 0);
  EXPECT_EQ(real.real, 3);
  EXPECT_EQ(real.towards_base, 1);
  EXPECT_EQ(real.away, 2);
  const Flips near = compare(0.7).flips;
  EXPECT_EQ(near.near_tie, 3);
  EXPECT_EQ(near.real + near.towards_base + near.away, 0);
  EXPECT_EQ(*find_metric(compare(0.7).metrics, "real_flips")->mean, 0.0);
  EXPECT_EQ(*find_metric(compare(0.1).metrics, "real_flips")->mean, 0.5);
}

TEST_F(ByHand, SlicesTakeTheirRowsOnce) {
  const Comparison comparison =
      compare(0.1, {{"changed", {{0, 1, 3}, {0, 1, 2}, {1, 2, 3}}}, {"none", {}}});
  ASSERT_EQ(comparison.slices.size(), 2U);
  EXPECT_EQ(comparison.slices[0].name, "changed");
  EXPECT_EQ(comparison.slices[0].tokens, 3);
  EXPECT_NEAR(*find_metric(comparison.slices[0].metrics, "kl")->mean, kl_, 1e-8);
  EXPECT_EQ(comparison.slices[1].tokens, 0);
  EXPECT_TRUE(comparison.slices[1].metrics.empty());
}

TEST_F(ByHand, PromptsHistogramAndBuckets) {
  const Comparison comparison = compare(0.1);
  ASSERT_EQ(comparison.prompts_detail.size(), 2U);
  EXPECT_EQ(comparison.prompts_detail[0].id, "p");
  EXPECT_EQ(comparison.prompts_detail[0].tokens, 3);
  EXPECT_NEAR(*comparison.prompts_detail[0].kl_mean, 2.0 * kl_ / 3.0, 1e-8);
  EXPECT_NEAR(*comparison.prompts_detail[0].kl_max, kl_, 1e-8);
  EXPECT_EQ(comparison.prompts_detail[0].flips, 2);
  EXPECT_NEAR(*comparison.prompts_detail[0].delta_nll_mean, -std::log(2.0) / 2.0, 1e-7);
  std::int64_t rows = 0;
  for (const HistogramBin& bin : comparison.kl_histogram) {
    rows += bin.rows;
    if (bin.rows > 0) {
      EXPECT_TRUE(bin.from == 0.0 ? bin.rows == 3 : bin.from <= kl_ && kl_ < bin.to);
    }
  }
  EXPECT_EQ(rows, 6);
  ASSERT_EQ(comparison.positions.size(), 1U);
  EXPECT_EQ(comparison.positions[0].to, 16);
  ASSERT_EQ(comparison.confidence.size(), 2U);  // 1/3 and 1/2
  EXPECT_EQ(comparison.confidence[0].from, 0.25);
  EXPECT_EQ(comparison.confidence[1].from, 0.5);
}

TEST_F(ByHand, EvidenceShowsAllLanes) {
  const Comparison comparison = compare(0.1);
  ASSERT_EQ(comparison.evidence.size(), 3U);  // equal rows are no evidence
  const Evidence& card = comparison.evidence[0];
  EXPECT_EQ(card.why, "real flip");
  EXPECT_EQ(card.prompt, "p");
  EXPECT_EQ(card.position, 1);
  EXPECT_EQ(card.target_id, 1);
  ASSERT_EQ(card.top.size(), 3U);
  EXPECT_EQ(card.top[0].lane, "base");
  EXPECT_EQ(card.top[1].lane, "adapter");
  EXPECT_EQ(card.top[1].tokens[0].id, 0);
  EXPECT_NEAR(card.top[1].tokens[0].probability, 0.5, 1e-7);
  EXPECT_EQ(card.top[2].tokens[0].id, 1);
  EXPECT_NEAR(*card.margin, std::log(2.0), 1e-7);
  EXPECT_NEAR(*card.kl, kl_, 1e-8);
}

TEST(Positions, DoubleFromSixteen) {
  const SyntheticSuite suite(5, 70, 6);
  const Comparison comparison = suite.compare(mix(suite, 0.9F));
  std::vector<std::int64_t> borders;
  std::int64_t rows = 0;
  for (const PositionBucket& bucket : comparison.positions) {
    borders.push_back(bucket.from);
    rows += find_metric(bucket.metrics, "kl")->count;
  }
  EXPECT_EQ(borders, (std::vector<std::int64_t>{0, 16, 32, 64}));
  EXPECT_EQ(rows, suite.rows());
}

TEST(Evidence, NeverMoreThanAskedForAndNoRowTwice) {
  const SyntheticSuite suite;
  for (const std::int64_t wanted : {0, 1, 5, 12}) {
    SummaryOptions options;
    options.evidence = wanted;
    const Comparison comparison = suite.compare(mix(suite, 0.2F), options);
    EXPECT_EQ(static_cast<std::int64_t>(comparison.evidence.size()), wanted);
    for (std::size_t i = 0; i < comparison.evidence.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        EXPECT_FALSE(comparison.evidence[i].prompt == comparison.evidence[j].prompt &&
                     comparison.evidence[i].position == comparison.evidence[j].position);
      }
    }
  }
}

TEST(Summary, P99WaitsForItsSample) {
  const SyntheticSuite small(40, 200, 4);
  EXPECT_EQ(find_metric(small.compare(mix(small, 0.9F)).metrics, "kl")->p99, std::nullopt);
  const SyntheticSuite large(40, 250, 4);
  const Comparison comparison = large.compare(mix(large, 0.9F));
  const MetricSummary& kl = *find_metric(comparison.metrics, "kl");
  ASSERT_NE(kl.p99, std::nullopt);
  ASSERT_NE(kl.p99_ci95, std::nullopt);
  EXPECT_LE(kl.p99_ci95->lower, *kl.p99);
  EXPECT_GE(kl.p99_ci95->upper, *kl.p99);
  EXPECT_EQ(kl.ci_method, IntervalMethod::kBca);
}

}  // namespace
}  // namespace mg
