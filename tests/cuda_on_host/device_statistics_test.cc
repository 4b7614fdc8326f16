// A comparison on the emulated device: logits and hidden states stay there, and the numbers are
// those the host would have computed from them.  Orders of threads, and barriers left out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "harness/lanes/lockstep.h"
#include "harness/metrics/metric_table.h"
#include "harness/run/logit_metrics.h"
#include "kernels/contract/conformance/fixture.h"
#include "kernels/registry.h"
#include "kernels/row_statistics.h"
#include "tests/cuda_on_host/machine.h"
#include "tests/kernels/faulty_backend.h"
#include "tests/lanes/synthetic_source.h"

namespace mg {
namespace {

using test::SyntheticSource;

/// Counts what is read; hides the statistics if told to.
class Watched final : public PassingBackend {
 public:
  Watched(Backend& right, bool with_statistics)
      : PassingBackend(right), with_statistics_(with_statistics) {}
  std::span<const float> read(Mat x, std::vector<float>& staging) override {
    elements_read += x.rows * x.cols;
    return right_.read(x, staging);
  }
  RowStatistics* row_statistics() override {
    return with_statistics_ ? right_.row_statistics() : nullptr;
  }
  std::int64_t elements_read = 0;

 private:
  bool with_statistics_;
};

struct Outcome {
  LockstepResult hidden;
  std::vector<std::vector<PairRow>> pairs;
  std::int64_t elements_read = 0;
};

class DeviceStatisticsTest : public testing::Test {
 protected:
  void SetUp() override { cuda_on_host::reset({}); }
  void TearDown() override {
    EXPECT_THAT(cuda_on_host::take_failures(), testing::IsEmpty());
    EXPECT_EQ(cuda_on_host::counts().allocations, 0U) << "all memory was given back";
  }

  /// base, adapter and a damaged copy on one backend; `second` is the adapter's lane once more, on
  /// a backend of its own: the noise floor's arrangement.
  Outcome compare(Arithmetic arithmetic, Arithmetic second, bool with_statistics) {
    const auto own = make_backend("cuda", {.arithmetic = arithmetic, .pool = &pool_, .isa = {}});
    const auto other = make_backend("cuda", {.arithmetic = second, .pool = &pool_, .isa = {}});
    Watched backend(*own, with_statistics);
    Watched beside(*other, with_statistics);
    const ModelConfig config = test::families().front().config;
    SyntheticSource base(config, 1);
    SyntheticSource adapter(config, 1);
    adapter.add_adapter(2, 0.2F);
    SyntheticSource merged(config, 3);
    const std::vector<Lane> lanes{{"base", &base, &backend},
                                  {"adapter", &adapter, &backend},
                                  {"merged", &merged, &backend},
                                  {"served", &adapter, &beside}};
    const std::vector<PairSpec> pairs{{1, 2, 0}, {1, 3, 0}, {1, 1, -1}};
    Prompts prompts;
    for (const int length : {17, 3}) {
      std::vector<std::int32_t> ids;
      for (int i = 0; i < length; ++i) {
        ids.push_back(static_cast<std::int32_t>((i * 7 + length) % config.vocab_size));
      }
      prompts.rows.push_back({"p" + std::to_string(length), length, next_tokens_of(ids)});
      prompts.batch.add("p" + std::to_string(length), ids);
    }
    LogitMetrics metrics(lanes, pairs, prompts, pool_, [](double) {});
    LockstepOptions options;
    options.reference = 1;
    options.subjects = {2, 3};
    options.forced_tokens = 17;
    Outcome outcome;
    outcome.hidden = run_lockstep(pool_, lanes, prompts.batch, options, metrics);
    EXPECT_TRUE(metrics.accumulator().complete());
    for (std::size_t pair = 0; pair < pairs.size(); ++pair) {
      const auto rows = metrics.accumulator().pair_rows(static_cast<int>(pair));
      outcome.pairs.emplace_back(rows.begin(), rows.end());
    }
    outcome.elements_read = backend.elements_read + beside.elements_read;
    return outcome;
  }

  ThreadPool pool_{2};
};

// Sums of the same doubles in another order: kernels/contract's row_sum() for a few hundred entries
// of size 10 is below 1e-13 of the sum of magnitudes, which the centred metrics cancel to a tenth.
constexpr double kRelative = 1e-12;
constexpr double kAbsolute = 1e-13;

void expect_near(double actual, double expected, const std::string& what) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(actual)) << what;
    return;
  }
  EXPECT_TRUE(std::fabs(actual - expected) <= kRelative * std::fabs(expected) + kAbsolute)
      << what << ": " << actual << " instead of " << expected;
}

void expect_same_rows(const std::vector<PairRow>& actual, const std::vector<PairRow>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t row = 0; row < expected.size(); ++row) {
    const PairRow& a = actual[row];
    const PairRow& e = expected[row];
    EXPECT_EQ(std::tuple(a.finite, a.agree, a.towards_base, a.base_finite, a.max_abs_token,
                         a.max_abs_centred_token),
              std::tuple(e.finite, e.agree, e.towards_base, e.base_finite, e.max_abs_token,
                         e.max_abs_centred_token));
    for (const MetricDef& metric : metric_table()) {
      ASSERT_EQ(metric_applies(metric, a), metric_applies(metric, e)) << metric.name;
      if (metric_applies(metric, e)) {
        expect_near(metric.value(a, {}), metric.value(e, {}), std::string(metric.name));
      }
    }
    expect_near(a.slope_xx, e.slope_xx, "slope_xx");
    expect_near(a.slope_xy, e.slope_xy, "slope_xy");
    expect_near(a.slope_yy, e.slope_yy, "slope_yy");
  }
}

TEST_F(DeviceStatisticsTest, GiveTheHostsNumbersAndReadNothing) {
  for (const auto& [first, second] : {std::pair{Arithmetic::kExact, Arithmetic::kFp16},
                                      std::pair{Arithmetic::kBf16, Arithmetic::kExact}}) {
    const Outcome expected = compare(first, second, false);
    const Outcome actual = compare(first, second, true);
    for (std::size_t pair = 0; pair < expected.pairs.size(); ++pair) {
      expect_same_rows(actual.pairs[pair], expected.pairs[pair]);
    }
    for (const PairRow& row : actual.pairs[2]) {  // a lane against itself
      EXPECT_EQ(std::tuple(row.kl, row.reverse_kl, row.js, row.tv, row.max_abs),
                std::tuple(0.0, 0.0, 0.0, 0.0, 0.0));
      EXPECT_TRUE(std::isnan(row.delta_nll) || row.delta_nll == 0.0);
    }
    for (std::size_t s = 0; s < expected.hidden.drift.size(); ++s) {
      ASSERT_EQ(actual.hidden.drift[s].size(), expected.hidden.drift[s].size());
      for (std::size_t half = 0; half < expected.hidden.drift[s].size(); ++half) {
        const HalfDrift& a = actual.hidden.drift[s][half];
        const HalfDrift& e = expected.hidden.drift[s][half];
        expect_near(a.free_rel, e.free_rel, "free");
        expect_near(a.forced_rel.value(), e.forced_rel.value(), "forced");
        for (std::size_t p = 0; p < e.prompt_rel.size(); ++p) {
          expect_near(a.prompt_rel[p], e.prompt_rel[p], "prompt");
        }
      }
    }
    // The other arithmetic's lane is fed the reference's rows, which cross the host: the sampled
    // ones, before each half of a layer.
    const ModelConfig config = test::families().front().config;
    EXPECT_EQ(actual.elements_read,
              2 * config.num_hidden_layers * actual.hidden.forced_rows * config.hidden_size);
    EXPECT_GT(expected.elements_read, 10 * actual.elements_read);
  }
}

TEST_F(DeviceStatisticsTest, NoOrderOfThreadsBlocksOrStreamsChangesABit) {
  const auto bits = [&](std::uint64_t seed) {
    cuda_on_host::reset({.seed = seed, .delayed = seed >= 2});
    std::vector<double> all;
    const Outcome outcome = compare(Arithmetic::kExact, Arithmetic::kFp16, true);
    for (const std::vector<PairRow>& pair : outcome.pairs) {
      for (const PairRow& row : pair) {
        all.insert(all.end(), {row.kl, row.reverse_kl, row.js, row.tv, row.max_abs, row.rms,
                               row.cosine, row.rank, row.top10_overlap, row.confidence});
      }
    }
    for (const std::vector<HalfDrift>& subject : outcome.hidden.drift) {
      for (const HalfDrift& half : subject) {
        all.push_back(half.free_rel);
        all.push_back(half.forced_rel.value());
      }
    }
    return all;
  };
  const std::vector<double> first = bits(0);
  for (std::uint64_t seed = 1; seed < 3; ++seed) {
    EXPECT_EQ(bits(seed), first) << seed;
  }
}

}  // namespace
}  // namespace mg
