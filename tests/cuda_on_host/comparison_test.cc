// A comparison on emulated devices: logits and hidden states stay there, and the numbers are those
// the host would have computed from them; several devices give one device's bits; so does one with
// little memory, which says so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "harness/lanes/devices.h"
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

Prompts prompts_of(const std::vector<int>& lengths, std::int64_t vocabulary) {
  Prompts prompts;
  for (const int length : lengths) {
    std::vector<std::int32_t> ids;
    for (int i = 0; i < length; ++i) {
      ids.push_back(static_cast<std::int32_t>((i * 7 + length) % vocabulary));
    }
    const std::string name = "p" + std::to_string(prompts.rows.size());
    prompts.rows.push_back({name, length, next_tokens_of(ids)});
    prompts.batch.add(name, ids);
  }
  return prompts;
}

class DeviceComparisonTest : public testing::Test {
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
    const Prompts prompts = prompts_of({17, 3}, config.vocab_size);
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

TEST_F(DeviceComparisonTest, GiveTheHostsNumbersAndReadNothing) {
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

TEST_F(DeviceComparisonTest, NoOrderOfThreadsBlocksOrStreamsChangesABit) {
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

/// The same comparison on so many devices.
struct OnDevices {
  LockstepResult hidden;
  std::vector<PairRow> rows;
};

OnDevices compare_on(int devices, const Prompts& prompts, std::int64_t chunk_tokens,
                     bool poisoned) {
  struct Stand {
    ThreadPool pool{1};
    std::unique_ptr<Backend> backend;
    std::vector<std::unique_ptr<SyntheticSource>> sources;
  };
  const ModelConfig config = test::families().front().config;
  std::vector<std::unique_ptr<Stand>> stands;
  std::vector<DeviceLanes> places;
  for (int device = 0; device < devices; ++device) {
    auto stand = std::make_unique<Stand>();
    stand->backend = make_backend(
        "cuda",
        {.arithmetic = Arithmetic::kExact, .pool = &stand->pool, .isa = {}, .device = device});
    EXPECT_GE(stand->backend->devices(), devices);
    for (const std::uint32_t seed : {1U, 3U}) {
      stand->sources.push_back(std::make_unique<SyntheticSource>(config, seed));
    }
    if (poisoned) {
      stand->sources[1]->mutable_layer(1).mlp_norm.weight =
          stand->sources[1]->random({config.hidden_size}, 1.0F, NAN);
    }
    places.push_back({&stand->pool,
                      {{"reference", stand->sources[0].get(), stand->backend.get()},
                       {"subject", stand->sources[1].get(), stand->backend.get()}}});
    stands.push_back(std::move(stand));
  }
  ThreadPool pool(1);
  LogitMetrics metrics(places[0].lanes, {{0, 1, -1}}, prompts, pool, [](double) {});
  LockstepOptions options;
  options.subjects = {1};
  options.forced_tokens = 24;
  options.chunk_tokens = chunk_tokens;
  OnDevices out;
  out.hidden = run_on_devices(places, prompts.batch, options, metrics);
  EXPECT_TRUE(metrics.accumulator().complete());
  const auto rows = metrics.accumulator().pair_rows(0);
  out.rows.assign(rows.begin(), rows.end());
  return out;
}

void expect_same_bits(const OnDevices& actual, const OnDevices& expected) {
  ASSERT_EQ(actual.rows.size(), expected.rows.size());
  for (std::size_t row = 0; row < expected.rows.size(); ++row) {
    for (const MetricDef& metric : metric_table()) {
      ASSERT_EQ(metric_applies(metric, actual.rows[row]),
                metric_applies(metric, expected.rows[row]));
      if (metric_applies(metric, expected.rows[row])) {
        EXPECT_EQ(metric.value(actual.rows[row], {}), metric.value(expected.rows[row], {}))
            << metric.name << " of row " << row;
      }
    }
  }
  ASSERT_EQ(actual.hidden.drift[0].size(), expected.hidden.drift[0].size());
  EXPECT_EQ(actual.hidden.forced_rows, expected.hidden.forced_rows);
  for (std::size_t half = 0; half < expected.hidden.drift[0].size(); ++half) {
    const HalfDrift& a = actual.hidden.drift[0][half];
    const HalfDrift& e = expected.hidden.drift[0][half];
    EXPECT_EQ(std::tuple(a.layer, a.part), std::tuple(e.layer, e.part));
    EXPECT_EQ(a.free_rel, e.free_rel) << half;
    EXPECT_EQ(a.forced_rel, e.forced_rel) << half;
    EXPECT_EQ(a.prompt_rel, e.prompt_rel) << half;
  }
}

TEST_F(DeviceComparisonTest, TwoDevicesGiveOneDevicesBits) {
  const Prompts prompts =
      prompts_of({5, 9, 20, 3, 17, 2}, test::families().front().config.vocab_size);
  cuda_on_host::reset({.devices = 2});
  const OnDevices one = compare_on(1, prompts, 1024, false);
  EXPECT_EQ(cuda_on_host::counts().kernels_on.count(1), 0U);
  EXPECT_THAT(one.hidden.notes, testing::IsEmpty());
  for (const bool delayed : {false, true}) {
    cuda_on_host::reset({.seed = 5, .delayed = delayed, .devices = 2});
    const OnDevices two = compare_on(2, prompts, 1024, false);
    expect_same_bits(two, one);
    EXPECT_THAT(two.hidden.notes, testing::ElementsAre("the prompts were split over 2 devices"));
    EXPECT_GT(cuda_on_host::counts().kernels_on[0], 100U);
    EXPECT_GT(cuda_on_host::counts().kernels_on[1], 100U);
  }
}

TEST_F(DeviceComparisonTest, TwoDevicesFindTheNaNsThatOneDeviceFinds) {
  const Prompts prompts = prompts_of({20, 17}, test::families().front().config.vocab_size);
  cuda_on_host::reset({.devices = 2});
  const OnDevices one = compare_on(1, prompts, 1024, true);
  const OnDevices two = compare_on(2, prompts, 1024, true);
  for (const OnDevices* outcome : {&one, &two}) {
    EXPECT_FALSE(outcome->hidden.non_finite[0]);
    ASSERT_TRUE(outcome->hidden.non_finite[1]);
    const NonFiniteHidden& found = *outcome->hidden.non_finite[1];
    EXPECT_EQ(std::tuple(found.layer, found.part, found.row, found.rows),
              std::tuple(1, Part::kMlp, 0, 37));
    EXPECT_TRUE(std::none_of(outcome->rows.begin(), outcome->rows.end(),
                             [](const PairRow& row) { return row.finite; }));
  }
}

TEST_F(DeviceComparisonTest, PromptsAreSplitWhereEachDeviceGetsEnough) {
  const auto sizes = [](const std::vector<int>& lengths, std::size_t parts) {
    std::vector<std::int64_t> tokens;
    std::int64_t row = 0;
    for (const BatchPart& part : split_prompts(prompts_of(lengths, 50).batch, parts)) {
      EXPECT_EQ(part.first_row, row);
      row += part.batch.tokens();
      tokens.push_back(part.batch.tokens());
    }
    return tokens;
  };
  using testing::ElementsAre;
  EXPECT_THAT(sizes({100, 100, 100, 100}, 2), ElementsAre(200, 200));
  EXPECT_THAT(sizes({100, 100, 100, 100}, 4), ElementsAre(100, 100, 100, 100));
  EXPECT_THAT(sizes({100, 100, 100}, 1), ElementsAre(300));
  EXPECT_THAT(sizes({300, 10, 10, 10}, 2), ElementsAre(300, 30));
  EXPECT_THAT(sizes({300, 10}, 2), ElementsAre(310)) << "10 rows alone have no stable bits";
  EXPECT_THAT(sizes({8, 8, 8, 8}, 4), ElementsAre(16, 16));
  EXPECT_THAT(sizes({3}, 8), ElementsAre(3));
}

TEST_F(DeviceComparisonTest, LittleMemoryHalvesTheChunksAndSaysSo) {
  const Prompts prompts = prompts_of({32, 32, 32, 32}, test::families().front().config.vocab_size);
  cuda_on_host::reset({});
  const OnDevices roomy = compare_on(1, prompts, 128, false);
  EXPECT_THAT(roomy.hidden.notes, testing::IsEmpty());
  const std::size_t peak = cuda_on_host::counts().peak_bytes;
  cuda_on_host::reset({.memory_bytes = peak * 3 / 4});
  const OnDevices tight = compare_on(1, prompts, 128, false);
  expect_same_bits(tight, roomy);
  ASSERT_EQ(tight.hidden.notes.size(), 1U);
  EXPECT_THAT(tight.hidden.notes[0],
              testing::MatchesRegex("device memory was short: chunks of (64|32|16) tokens instead "
                                    "of 128"));
}

}  // namespace
}  // namespace mg
