// Runs over the rows of the metric table: a metric added there is tested without a line here,
// except for the table of faults below, where every metric must be named at least once.
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>

#include "tests/metrics/synthetic_suite.h"

namespace mg {
namespace {

using test::LaneLogits;
using test::SyntheticSuite;
using Names = std::set<std::string>;

constexpr std::int64_t kRow = 10;  // prompt 1, position 2: has a next token

std::string row_name(const MetricDef& metric) {
  return std::string(metric.name);
}

TEST(MetricTable, NamesAreUniqueAndRowsComplete) {
  Names names;
  for (const MetricDef& metric : metric_table()) {
    EXPECT_TRUE(names.insert(row_name(metric)).second) << metric.name;
    EXPECT_NE(metric.value, nullptr) << metric.name;
    EXPECT_FALSE(metric.title.empty() || metric.meaning.empty()) << metric.name;
    EXPECT_EQ(&metric_by_name(metric.name), &metric);
  }
}

// The names of the report's contract (tests/reports/report.example.json).
TEST(MetricTable, HoldsTheReportsMetrics) {
  for (const char* name :
       {"kl", "reverse_kl", "js", "tv", "max_abs", "rms", "max_abs_centred", "rms_centred",
        "cosine", "top1_agreement", "top5_overlap", "delta_nll", "rank"}) {
    EXPECT_EQ(metric_by_name(name).name, name);
  }
}

TEST(MetricContract, ALaneAgainstItselfIsExactlyNeutral) {
  const SyntheticSuite suite;
  const Comparison comparison = suite.compare(suite.reference);
  for (const MetricDef& metric : metric_table()) {
    const MetricSummary* summary = find_metric(comparison.metrics, metric.name);
    ASSERT_NE(summary, nullptr) << metric.name;
    const std::int64_t expected_rows =
        metric.population == Population::kAllRows ? suite.rows() : suite.prompts * (suite.T - 1);
    EXPECT_EQ(summary->count, expected_rows) << metric.name;
    EXPECT_EQ(summary->non_finite, 0) << metric.name;
    if (metric.neutral) {
      EXPECT_EQ(summary->mean, metric.neutral) << metric.name;
      EXPECT_EQ(summary->min, metric.neutral) << metric.name;
      EXPECT_EQ(summary->max, metric.neutral) << metric.name;
    }
  }
  EXPECT_EQ(comparison.ratios.mer.value, 0.0);
  EXPECT_EQ(comparison.ratios.slope.value, 1.0);
  EXPECT_EQ(comparison.ratios.r2.value, 1.0);
  EXPECT_EQ(comparison.ratios.perplexity_ratio.value, 1.0);
  EXPECT_EQ(comparison.flips.near_tie + comparison.flips.real, 0);
}

struct Fault {
  std::string name;
  void (*plant)(const SyntheticSuite& suite, LaneLogits& lane);
  Names seen;    // metrics that must get worse
  Names unseen;  // metrics that must not move: the fault is none for them
};

std::vector<std::int64_t> falling_order(const SyntheticSuite& suite, const LaneLogits& lane) {
  const test::Row row(lane.begin() + kRow * suite.V, lane.begin() + (kRow + 1) * suite.V);
  const auto order = test::oracle_order(row);
  return {order.begin(), order.end()};
}

const std::vector<Fault>& faults() {
  static const std::vector<Fault> all{
      {"one element",
       [](const SyntheticSuite& suite, LaneLogits& lane) {
         suite.at(lane, kRow, suite.layout().next_token(kRow)) += 2.0F;
       },
       {"kl", "reverse_kl", "js", "tv", "max_abs", "rms", "max_abs_centred", "rms_centred",
        "cosine", "delta_nll", "delta_p"},
       {}},
      {"one ulp",
       [](const SyntheticSuite& suite, LaneLogits& lane) {
         float& z = suite.at(lane, kRow, falling_order(suite, lane)[0]);
         z = std::nextafter(z, 1e9F);
       },
       {"kl", "reverse_kl", "js", "tv", "max_abs", "rms", "max_abs_centred", "rms_centred",
        "delta_nll", "delta_p"},
       {"top1_agreement", "real_flips", "top5_overlap", "top10_overlap", "rank"}},
      {"sign flip of a row",
       [](const SyntheticSuite& suite, LaneLogits& lane) {
         for (std::int64_t v = 0; v < suite.V; ++v) {
           suite.at(lane, kRow, v) *= -1.0F;
         }
       },
       {"kl", "reverse_kl", "js", "tv", "max_abs", "rms", "max_abs_centred", "rms_centred",
        "cosine", "top1_agreement", "real_flips", "top5_overlap", "top10_overlap", "rank",
        "delta_nll", "delta_p"},
       {}},
      {"row replaced by its neighbour",
       [](const SyntheticSuite& suite, LaneLogits& lane) {
         for (std::int64_t v = 0; v < suite.V; ++v) {
           suite.at(lane, kRow, v) = suite.at(lane, kRow + 1, v);
         }
       },
       {"kl", "reverse_kl", "js", "tv", "max_abs", "rms", "max_abs_centred", "rms_centred",
        "cosine", "top5_overlap", "top10_overlap", "delta_nll", "delta_p"},
       {}},
      {"swap of first and last token",
       [](const SyntheticSuite& suite, LaneLogits& lane) {
         const auto order = falling_order(suite, lane);
         std::swap(suite.at(lane, kRow, order.front()), suite.at(lane, kRow, order.back()));
       },
       {"kl", "reverse_kl", "js", "tv", "max_abs", "rms", "cosine", "top1_agreement", "real_flips",
        "top5_overlap", "top10_overlap", "rank"},
       {}},
      {"scale",
       [](const SyntheticSuite& /*suite*/, LaneLogits& lane) {
         for (float& z : lane) {
           z *= 1.25F;
         }
       },
       {"kl", "reverse_kl", "js", "tv", "max_abs", "rms", "max_abs_centred", "rms_centred",
        "delta_nll", "delta_p"},
       {"cosine", "top1_agreement", "real_flips", "top5_overlap", "top10_overlap", "rank"}},
      {"shift",
       [](const SyntheticSuite& /*suite*/, LaneLogits& lane) {
         for (float& z : lane) {
           z += 8.0F;
         }
       },
       {"max_abs", "rms", "cosine"},
       {"kl", "reverse_kl", "js", "tv", "max_abs_centred", "rms_centred", "top1_agreement",
        "real_flips", "top5_overlap", "top10_overlap", "rank", "delta_nll", "delta_p"}},
  };
  return all;
}

// A shift by 8 and a scale by 1.25 are exact on this grid, so that "unseen" can mean rounding of
// double arithmetic only.
SyntheticSuite gridded_suite() {
  SyntheticSuite suite;
  for (LaneLogits* lane : {&suite.reference, &suite.base}) {
    for (float& z : *lane) {
      z = std::round(z * 4096.0F) / 4096.0F;
    }
  }
  return suite;
}

double largest_badness(const MetricDef& metric, const MetricSummary& summary) {
  return std::max(badness(metric, *summary.min), badness(metric, *summary.max));
}

TEST(MetricContract, PlantedFaultsAreSeenByTheMetricsThatMust) {
  Names ever_seen;
  for (const Fault& fault : faults()) {
    const SyntheticSuite suite = gridded_suite();
    LaneLogits subject = suite.reference;
    fault.plant(suite, subject);
    const Comparison comparison = suite.compare(subject);
    for (const std::string& name : fault.seen) {
      const MetricDef& metric = metric_by_name(name);
      EXPECT_GT(largest_badness(metric, *find_metric(comparison.metrics, name)), 1e-15)
          << fault.name << " must be seen by " << name;
      ever_seen.insert(name);
    }
    for (const std::string& name : fault.unseen) {
      const MetricDef& metric = metric_by_name(name);
      EXPECT_LE(largest_badness(metric, *find_metric(comparison.metrics, name)), 1e-12)
          << fault.name << " is none for " << name;
    }
  }
  for (const MetricDef& metric : metric_table()) {
    if (metric.neutral) {
      EXPECT_TRUE(ever_seen.contains(row_name(metric))) << metric.name << " is in no fault's list";
    }
  }
}

TEST(MetricContract, TheWorstPlaceIsTheFaultsPlace) {
  const SyntheticSuite suite;
  LaneLogits subject = suite.reference;
  const std::int64_t token = suite.layout().next_token(kRow);
  suite.at(subject, kRow, token) += 3.0F;
  const Comparison comparison = suite.compare(subject);
  for (const char* name : {"kl", "js", "tv", "max_abs", "rms_centred", "cosine", "delta_nll"}) {
    const auto& worst = find_metric(comparison.metrics, name)->worst;
    ASSERT_TRUE(worst.has_value()) << name;
    EXPECT_EQ(worst->prompt, "p1") << name;
    EXPECT_EQ(worst->position, 2) << name;
  }
  EXPECT_EQ(find_metric(comparison.metrics, "max_abs")->worst->token, token);
  EXPECT_EQ(find_metric(comparison.metrics, "max_abs_centred")->worst->token, token);
  EXPECT_EQ(find_metric(comparison.metrics, "kl")->worst->token, std::nullopt);
}

class NonFinite : public ::testing::TestWithParam<float> {};

INSTANTIATE_TEST_SUITE_P(Values, NonFinite,
                         ::testing::Values(std::numeric_limits<float>::quiet_NaN(),
                                           std::numeric_limits<float>::infinity(),
                                           -std::numeric_limits<float>::infinity()));

TEST_P(NonFinite, InTheSubjectIsCountedLocatedAndKeptOutOfEveryMean) {
  const SyntheticSuite suite;
  LaneLogits subject = suite.reference;
  suite.at(subject, kRow, 31) = GetParam();
  const Comparison comparison = suite.compare(subject);
  for (const MetricDef& metric : metric_table()) {
    const MetricSummary* summary = find_metric(comparison.metrics, metric.name);
    ASSERT_NE(summary, nullptr) << metric.name;
    EXPECT_EQ(summary->non_finite, 1) << metric.name;
    if (metric.neutral) {
      EXPECT_EQ(summary->mean, metric.neutral) << metric.name;
    }
  }
  ASSERT_EQ(comparison.non_finite.size(), 1U);
  EXPECT_EQ(comparison.non_finite[0].lane, "merged");
  EXPECT_EQ(comparison.non_finite[0].rows, 1);
  EXPECT_EQ(comparison.non_finite[0].elements, 1);
  EXPECT_EQ(comparison.non_finite[0].first, (Place{"p1", 2, 31}));
  ASSERT_FALSE(comparison.evidence.empty());
  EXPECT_EQ(comparison.evidence[0].why, "not finite");
  EXPECT_EQ(comparison.evidence[0].position, 2);
  EXPECT_EQ(comparison.prompts_detail[1].non_finite, 1);
}

TEST_P(NonFinite, InTheBaseHurtsOnlyWhatNeedsTheBase) {
  SyntheticSuite suite;
  suite.at(suite.base, kRow, 3) = GetParam();
  const Comparison comparison = suite.compare(suite.reference);
  for (const MetricDef& metric : metric_table()) {
    EXPECT_EQ(find_metric(comparison.metrics, metric.name)->non_finite, metric.needs_base ? 1 : 0)
        << metric.name;
  }
  ASSERT_EQ(comparison.non_finite.size(), 1U);
  EXPECT_EQ(comparison.non_finite[0].lane, "base");
}

TEST_P(NonFinite, EverywhereLeavesNoNumber) {
  const SyntheticSuite suite;
  const LaneLogits subject(suite.reference.size(), GetParam());
  const Comparison comparison = suite.compare(subject);
  for (const NamedMetric& metric : comparison.metrics) {
    EXPECT_EQ(metric.summary.mean, std::nullopt) << metric.name;
    EXPECT_EQ(metric.summary.p50, std::nullopt) << metric.name;
    EXPECT_EQ(metric.summary.ci95, std::nullopt) << metric.name;
    EXPECT_GT(metric.summary.non_finite, 0) << metric.name;
  }
  EXPECT_EQ(comparison.ratios.mer.value, std::nullopt);
  EXPECT_EQ(comparison.ratios.slope.value, std::nullopt);
  EXPECT_EQ(comparison.non_finite[0].elements, suite.rows() * suite.V);
}

TEST(MetricContract, WithoutABaseItsMetricsAreAbsent) {
  const SyntheticSuite suite;
  MetricAccumulator rows(suite.layout(), suite.V, {"adapter", "merged"}, {{0, 1, -1}});
  ThreadPool pool(1);
  const std::vector<LogitRows> lanes{{suite.reference.data(), suite.V},
                                     {suite.base.data(), suite.V}};
  rows.add_rows(0, suite.rows(), lanes, pool);
  const Comparison comparison = summarise(rows, 0, {}, pool);
  for (const MetricDef& metric : metric_table()) {
    EXPECT_EQ(find_metric(comparison.metrics, metric.name) == nullptr, metric.needs_base)
        << metric.name;
  }
  EXPECT_EQ(comparison.ratios.mer.value, std::nullopt);
  EXPECT_EQ(comparison.ratios.slope.value, std::nullopt);
  EXPECT_NE(comparison.ratios.perplexity_ratio.value, std::nullopt);
}

}  // namespace
}  // namespace mg
