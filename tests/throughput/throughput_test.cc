// Measuring on a clock of our own: what the rounds, intervals and gates make of times that are
// known.  Nothing here depends on how fast the machine is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "harness/bench/bench.h"
#include "harness/bench/cost.h"
#include "harness/bench/rounds.h"
#include "harness/bench/synthetic_adapter.h"
#include "harness/lanes/checkpoint_source.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"
#include "tests/lanes/synthetic_source.h"

namespace mg {
namespace {

using test::SyntheticSource;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr BootstrapPlan kPlan{.replicates = 2000, .seed = 1};

TEST(RoundsTest, LanesTakeMirroredTurnsSoThatADriftCancels) {
  double now = 0;
  double pace = 1;  // the machine grows slower by a tenth with every turn
  std::string order;
  const auto lane = [&](char name) {
    return [&order, &now, &pace, name] {
      order += name;
      now += pace;
      pace += 0.1;
    };
  };
  const std::vector<BenchTurn> turns{lane('A'), lane('B'), lane('C')};
  const std::vector<double> seconds = run_round(turns, [&] { return now; });
  EXPECT_EQ(order, "ABCCBA");
  for (const double each : seconds) {
    EXPECT_NEAR(each, 2.5, 1e-12);
  }
  order.clear();
  run_round(
      turns, [&] { return now; }, 1);
  EXPECT_EQ(order, "BCAACB");
}

/// Times around 1 s that jitter by up to 1 %, the same ones in each run.
std::vector<double> jittering(double seconds, std::size_t rounds, std::uint64_t seed) {
  SplitMix64 random(seed);
  std::vector<double> times;
  for (std::size_t i = 0; i < rounds; ++i) {
    times.push_back(seconds * (1 + 0.01 * (static_cast<double>(random.below(201)) / 100 - 1)));
  }
  return times;
}

BenchRatio ratio(double reference, double subject, std::size_t rounds = 12) {
  return ratio_of(jittering(reference, rounds, 1), jittering(subject, rounds, 2), 0.05, kPlan);
}

TEST(RoundsTest, TheIntervalDecides) {
  EXPECT_EQ(ratio(1, 1).decision, "equivalent");
  EXPECT_EQ(ratio(1, 1.03).decision, "equivalent");
  EXPECT_EQ(ratio(1, 1.2).decision, "slower");
  EXPECT_EQ(ratio(1.2, 1).decision, "faster");
  EXPECT_EQ(ratio(1, 1.05).decision, "undecided") << "the margin itself lies in the interval";
  EXPECT_EQ(ratio(1, 1, 4).decision, "undecided") << "too few rounds for an interval";
  EXPECT_FALSE(ratio(1, 1, 4).ci95);
  const BenchRatio exact = ratio(1, 1.25);
  EXPECT_NEAR(*exact.value, 0.8, 0.01);
  EXPECT_LT(exact.ci95->lower, *exact.value);
  EXPECT_GT(exact.ci95->upper, *exact.value);
}

TEST(RoundsTest, ATimeThatIsNoNumberDecidesNothing) {
  const std::vector<double> times(8, 1.0);
  const std::vector<double> broken(8, std::nan(""));
  EXPECT_EQ(ratio_of(times, broken, 0.05, kPlan).decision, "undecided");
}

GateStatus gate(const BenchRatio& measured) {
  BenchResult bench;
  bench.margin = 0.05;
  BenchRatio named = measured;
  named.phase = "decode";
  named.reference = "adapter";
  named.subject = "merged";
  bench.ratios = {named};
  return judge_bench(bench, "adapter", "merged").front().status;
}

TEST(RoundsTest, TheGateIsOneSided) {
  EXPECT_EQ(gate(ratio(1, 1)), GateStatus::kPass);
  EXPECT_EQ(gate(ratio(2, 1)), GateStatus::kPass) << "a merge may be faster";
  EXPECT_EQ(gate(ratio(1, 1.2)), GateStatus::kFail);
  EXPECT_EQ(gate(ratio(1, 1.05)), GateStatus::kInconclusive);
  EXPECT_EQ(gate(ratio(1, 1, 4)), GateStatus::kInconclusive);
}

/// A whole run on time that passes only where a lane takes its turn.
class BenchRunTest : public ::testing::Test {
 protected:
  BenchRunTest()
      : backend_(
            make_backend("cpu", {.arithmetic = Arithmetic::kExact, .pool = &pool_, .isa = {}})),
        base_(test::families().front().config, 1),
        merged_(test::families().front().config, 2),
        adapter_(base_, 4, 3) {
    options_.settings = {{"prefill", 16, 1}, {"decode", 20, 2}};
    options_.bootstrap = kPlan;
    options_.clock = [this] { return now_; };
    options_.before_turn = [this](const std::string& lane) {
      now_ += seconds_.at(lane) * (1 + 0.001 * static_cast<double>(jitter_.below(11)));
    };
  }

  BenchRun run() {
    const std::vector<BenchLane> lanes{
        {"base", {&base_}, 0.5}, {"adapter", {&adapter_}, 0}, {"merged", {&merged_}, 0}};
    const std::vector<BenchPair> pairs{{"base", "adapter"}, {"adapter", "merged"}};
    return run_bench(*backend_, lanes, pairs, options_, pool_, [](double) {});
  }

  std::vector<GateStatus> gates(const BenchRun& run) {
    std::vector<GateStatus> all;
    for (const Verdict& verdict : judge_bench(run.result, "adapter", "merged")) {
      all.push_back(verdict.status);
    }
    return all;
  }

  ThreadPool pool_{1};
  std::unique_ptr<Backend> backend_;
  SyntheticSource base_;
  SyntheticSource merged_;
  SyntheticAdapter adapter_;
  BenchOptions options_;
  double now_ = 0;
  SplitMix64 jitter_{9};
  std::map<std::string, double> seconds_{{"base", 1.0}, {"adapter", 1.0}, {"merged", 1.0}};
};

TEST_F(BenchRunTest, LanesOfOneSpeedAreEquivalent) {
  const BenchRun done = run();
  ASSERT_EQ(done.result.ratios.size(), 4U);
  for (const BenchRatio& each : done.result.ratios) {
    EXPECT_EQ(each.decision, "equivalent") << each.phase << " " << each.subject;
  }
  EXPECT_THAT(gates(done), ElementsAre(GateStatus::kPass, GateStatus::kPass));
  ASSERT_EQ(done.result.rates.size(), 6U);
  EXPECT_EQ(done.result.rates[0].rounds, options_.rounds);
  EXPECT_NEAR(*done.result.rates[0].tokens_per_s, 16, 0.2) << "16 tokens a turn, a second each";
  EXPECT_NEAR(*done.result.rates[3].tokens_per_s, 8, 0.1) << "4 steps of 2 prompts";
  EXPECT_NEAR(*done.result.memory[0].first_token_s, 1.0, 0.02);
  EXPECT_EQ(done.result.memory[0].load_s, 0.5);
  EXPECT_THAT(done.google_json, HasSubstr("\"name\": \"prefill/16/1/iterations:12/manual_time\""));
}

TEST_F(BenchRunTest, AMergeSlowedDownIsCaught) {
  seconds_["merged"] = 1.2;
  EXPECT_THAT(gates(run()), ElementsAre(GateStatus::kFail, GateStatus::kFail));
}

TEST_F(BenchRunTest, AnAdapterPathDoneTwiceShowsInTheRatios) {
  seconds_["adapter"] = 1.3;
  const BenchRun done = run();
  EXPECT_EQ(done.result.ratios[0].decision, "slower") << "adapter beside base";
  EXPECT_EQ(done.result.ratios[1].decision, "faster") << "merged beside adapter";
  EXPECT_THAT(gates(done), ElementsAre(GateStatus::kPass, GateStatus::kPass));
}

TEST_F(BenchRunTest, WhatDoesNotFitIsLeftOutAndSaid) {
  options_.settings = {{"prefill", 16, 1}, {"decode", 100000, 1}, {"decode", 100, 64}};
  options_.cache_limit = 1 << 20;
  const BenchRun done = run();
  EXPECT_EQ(done.result.rates.size(), 3U);
  ASSERT_EQ(done.findings.size(), 2U);
  EXPECT_EQ(done.findings[0].message,
            "a setting was left out: it is longer than the model's context");
  EXPECT_EQ(done.findings[1].message, "a setting was left out: the lanes' caches would not fit");
}

TEST_F(BenchRunTest, EveryAdapterOfABatchIsRead) {
  SyntheticAdapter second(base_, 4, 7);
  seconds_["adapters-2"] = 1.0;
  const std::vector<BenchLane> lanes{{"adapter", {&adapter_}, 0},
                                     {"adapters-2", {&adapter_, &second}, 0}};
  const BenchRun done = run_bench(*backend_, lanes, {}, options_, pool_, [](double) {});
  const std::uint64_t pairs = weight_bytes(second).low_rank;
  EXPECT_GT(pairs, 0U);
  EXPECT_EQ(done.result.memory[1].weight_bytes - done.result.memory[0].weight_bytes, pairs);
  ASSERT_EQ(done.result.rates.size(), 3U) << "two adapters do not divide a prefill of one prompt";
  EXPECT_EQ(done.result.rates[2].bytes - done.result.rates[1].bytes, static_cast<double>(pairs));
}

TEST_F(BenchRunTest, GoogleBenchmarksFlagsPassThrough) {
  options_.google_flags = {"--benchmark_filter=decode"};
  EXPECT_EQ(run().result.rates.size(), 3U);
  options_.google_flags = {"--nonsense"};
  try {
    run();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.parts().code, "bench.flags");
    EXPECT_EQ(error.parts().actual, "--nonsense");
  }
  options_.google_flags = {"--benchmark_filter=.*"};  // flags outlive a run
  EXPECT_EQ(run().result.rates.size(), 6U);
}

TEST(CostTest, CountsWhatTheShapesSay) {
  const ModelConfig config = test::families().front().config;
  SyntheticSource source(config, 1);
  // llama: V 61, H 32, I 48, L 3, heads 4 and 2 of 8.
  const double layer = 32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 48 * 32;
  const double head = 61 * 32;
  const WorkCost decode = decode_cost(source, 9, 2);
  EXPECT_EQ(decode.flops, 2 * (3 * (2 * layer + 4 * 32 * 10) + 2 * head));
  EXPECT_EQ(decode.bytes, 2 * (3 * layer + head) + 3 * 2 * 16 * 4 * 10 * 2);
  const WorkCost prefill = prefill_cost(source, 7, 1);
  EXPECT_EQ(prefill.flops, 7 * 3 * (2 * layer + 4 * 32 * 4) + 2 * head);
  EXPECT_EQ(prefill.bytes, 2 * (3 * layer + head));
  // Two tables of the vocabulary (not tied), seven norms.
  EXPECT_EQ(weight_bytes(source).all,
            static_cast<std::uint64_t>(2 * (3 * layer + 2 * head + 7 * 32)));
  EXPECT_EQ(weight_bytes(source).decoded, 0U);
  SyntheticAdapter adapter(source, 4, 1);
  const double pairs = 4 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 48));
  EXPECT_EQ(weight_bytes(adapter).low_rank, static_cast<std::uint64_t>(2 * 3 * pairs));
  EXPECT_EQ(weight_bytes(adapter).all,
            weight_bytes(source).all + static_cast<std::uint64_t>(2 * 3 * pairs));
}

/// Reading a weight's first number would end the program where nobody decoded it.
TEST(CostTest, ABaseOfCodesIsDecodedOnlyWhileALayerIsInUse) {
  const Checkpoint checkpoint = Checkpoint::open(
      std::filesystem::path(MG_TEST_DATA) / "golden" / "qwen2-nf4" / "base", {.decode = true});
  const ResolvedModel model = resolve_model(checkpoint);
  CheckpointSource source(checkpoint, model);
  SyntheticAdapter adapter(source, 4, 1);
  EXPECT_GT(weight_bytes(adapter).all, weight_bytes(source).all);
  EXPECT_EQ(checkpoint.copies_decoded(), 0);
  float first = 0;
  for (int round = 1; round <= 2; ++round) {
    const Linear& q = adapter.layer(0).q;
    float now = 0;
    std::memcpy(&now, q.weight.values.data, sizeof(now));
    EXPECT_NE(now, 0.0F);
    EXPECT_TRUE(round == 1 || now == first);
    first = now;
    adapter.release_layer(0);
    EXPECT_EQ(checkpoint.copies_decoded(), round * 7) << "q, k, v, o, gate, up, down";
  }
}

/// What decoding reads of a weight stored as codes is its FP32 copy, not the codes; of the head,
/// which this model keeps in 16 bits, the stored bytes.
TEST(CostTest, ABaseOfCodesIsReadAsItsCopies) {
  const Checkpoint checkpoint = Checkpoint::open(
      std::filesystem::path(MG_TEST_DATA) / "golden" / "qwen2-nf4" / "base", {.decode = true});
  const ResolvedModel model = resolve_model(checkpoint);
  CheckpointSource source(checkpoint, model);
  // V 320, H 64, I 112, L 3, heads 4 and 2 of 16.
  const double layer = 64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 112 * 64;
  const double head = 320 * 64;
  const WeightBytes bytes = weight_bytes(source);
  EXPECT_EQ(bytes.decoded, static_cast<std::uint64_t>(4 * 3 * layer));
  // Beside them in 16 bits: two tables, seven norms, the biases of q, k and v.
  EXPECT_EQ(bytes.all - bytes.decoded,
            static_cast<std::uint64_t>(2 * (2 * head + 7 * 64 + 3 * (64 + 2 * 32))));
  EXPECT_EQ(decode_cost(source, 9, 1).bytes, 4 * 3 * layer + 2 * head + 3 * 2 * 32 * 4 * 10);
  EXPECT_EQ(source.layer(0).q.weight.values.dtype, DType::kF32) << "what the kernels are given";
}

TEST(CostTest, AWindowBoundsWhatATokenReads) {
  ModelConfig config = test::families().front().config;
  for (LayerConfig& layer : config.layers) {
    layer.sliding_window = 5;
  }
  SyntheticSource source(config, 1);
  EXPECT_EQ(decode_cost(source, 100, 1).bytes, decode_cost(source, 50, 1).bytes);
}

}  // namespace
}  // namespace mg
