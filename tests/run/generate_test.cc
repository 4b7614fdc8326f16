// Texts of the demo's lanes: what the steps choose, where texts part, what scenarios say.
#include "harness/run/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "harness/lanes/checkpoint_source.h"
#include "harness/run/demo.h"
#include "kernels/registry.h"
#include "reports/json/report_json.h"

namespace mg {
namespace {

using ::testing::ElementsAre;

TEST(ChooseTokenTest, GreedyTakesTheLargestAndTheLowestOfEquals) {
  EXPECT_EQ(choose_token(std::vector<float>{1, 3, 2, 3}, {}, 0.9), 1);
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(choose_token(std::vector<float>{-kInf, -5, -kInf}, {}, 0.0), 1);
  EXPECT_EQ(choose_token(std::vector<float>{1, std::nanf(""), 2}, {}, 0.0), std::nullopt);
  EXPECT_EQ(choose_token(std::vector<float>{1, kInf}, {}, 0.0), std::nullopt);
  EXPECT_EQ(choose_token(std::vector<float>{-kInf, -kInf}, {}, 0.0), std::nullopt);
}

TEST(ChooseTokenTest, SamplesInProportionWithinTheCut) {
  // Probabilities 0.5, 0.25, 0.125, 0.125.
  const std::vector<float> logits{std::log(4.0F), std::log(2.0F), 0, 0};
  const auto shares = [&](const Sampling& sampling) {
    std::vector<double> counts(4);
    constexpr int kDraws = 8000;
    for (int i = 0; i < kDraws; ++i) {
      const auto token = choose_token(logits, sampling, (i + 0.5) / kDraws);
      counts[static_cast<std::size_t>(*token)] += 1.0 / kDraws;
    }
    return counts;
  };
  const auto near = [](double value) { return ::testing::DoubleNear(value, 2e-3); };
  EXPECT_THAT(shares({.temperature = 1}),
              ElementsAre(near(0.5), near(0.25), near(0.125), near(0.125)));
  EXPECT_THAT(shares({.temperature = 1, .top_p = 0.7}),
              ElementsAre(near(2.0 / 3), near(1.0 / 3), 0.0, 0.0));
  EXPECT_THAT(shares({.temperature = 1, .top_k = 3}),
              ElementsAre(near(4.0 / 7), near(2.0 / 7), near(1.0 / 7), 0.0));
  EXPECT_THAT(shares({.temperature = 0.5}),
              ElementsAre(near(16.0 / 22), near(4.0 / 22), near(1.0 / 22), near(1.0 / 22)));
}

TEST(TextFiguresTest, EditDistanceAndRepetition) {
  const std::vector<std::int32_t> a{1, 2, 3, 4};
  EXPECT_EQ(edit_distance(a, a), 0);
  EXPECT_EQ(edit_distance(a, std::vector<std::int32_t>{}), 4);
  EXPECT_EQ(edit_distance(a, std::vector<std::int32_t>{1, 3, 4}), 1);
  EXPECT_EQ(edit_distance(a, std::vector<std::int32_t>{2, 1, 3, 4, 5}), 3);
  EXPECT_EQ(repetition_of(a), 0.0);
  EXPECT_EQ(repetition_of(std::vector<std::int32_t>{7, 7, 7, 7, 7, 7, 7}), 0.75);
  EXPECT_DOUBLE_EQ(repetition_of(std::vector<std::int32_t>{1, 2, 3, 4, 1, 2, 3, 4}), 0.2);
}

class GenerateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    demo_ = write_demo(folder_.path(), "", pool_);
    suite_ = folder_.path() / "suite.jsonl";
    write_suite_of({});
  }

  /// Four chats, the first with this expectation.
  void write_suite_of(const std::string& expect) {
    std::ofstream out(suite_);
    const char* names[] = {"libfoo-dev", "python3-bar", "gcc-doc", "x11-apps"};
    for (const char* name : names) {
      out << R"({"id": ")" << name << R"(", "messages": [{"role": "user", "content": "What is )"
          << name << R"(?"}])";
      if (!expect.empty() && name == names[0]) {
        out << R"(, "expect": )" << expect;
      }
      out << "}\n";
    }
  }

  Report generate(const std::function<void(GenerateOptions&)>& change = {}) {
    GenerateOptions options;
    options.base = demo_.base;
    options.adapter = demo_.adapter;
    options.merged = demo_.merged;
    options.suites = {suite_.string()};
    options.max_tokens = 24;
    if (change) {
      change(options);
    }
    Report report = run_generate(options, pool_, [](const std::string&, double) {});
    EXPECT_FALSE(report.error) << report.error->what << " " << report.error->where;
    return report;
  }

  static std::vector<std::vector<std::int32_t>> ids_of_lane(const Report& report,
                                                            std::size_t lane) {
    std::vector<std::vector<std::int32_t>> ids;
    for (const GeneratedPrompt& prompt : report.generation->prompts) {
      ids.push_back(prompt.texts[lane].ids);
    }
    return ids;
  }

  ThreadPool pool_{2};
  TemporaryFolder folder_;
  DemoFolders demo_;
  std::filesystem::path suite_;
};

TEST_F(GenerateTest, ARightMergeWritesWhatTheAdapterWrites) {
  const Report report = generate();
  EXPECT_EQ(report.status, RunStatus::kPass);
  const GenerationResult& generation = *report.generation;
  ASSERT_EQ(generation.pairs.size(), 2U);
  EXPECT_EQ(generation.pairs[1].reference, "adapter");
  EXPECT_EQ(generation.pairs[1].subject, "merged");
  EXPECT_EQ(generation.pairs[1].prompts, 4);
  EXPECT_EQ(generation.pairs[1].identical, 4);
  EXPECT_EQ(generation.pairs[1].edit_share, 0.0);
  EXPECT_LT(generation.pairs[0].identical, 4) << "the adapter does something";
  EXPECT_GT(*generation.pairs[0].edit_share, 0.0);
  ASSERT_TRUE(generation.margin.has_value());
  EXPECT_FALSE(generation.prompts[0].texts[1].text.empty());
  const Report back = read_report_json(write_report_json(report), "report.json");
  EXPECT_EQ(back.generation->prompts[0].texts[1].ids, generation.prompts[0].texts[1].ids);
}

TEST_F(GenerateTest, GreedyStepsAreThoseOfTheWholePass) {
  const Report report = generate();
  const OpenModel base(demo_.base);
  const OpenAdapter adapter(demo_.adapter, base);
  CheckpointSource source(base.checkpoint, base.model, &adapter.attached);
  const auto backend =
      make_backend("cpu", {.arithmetic = Arithmetic::kExact, .pool = &pool_, .isa = {}});
  const Lane lane{"adapter", &source, backend.get()};
  struct Last final : Observer {
    void logits(const LogitChunk& rows) override {
      best = *choose_token(rows.lanes[0].last(static_cast<std::size_t>(rows.vocab[0])), {}, 0);
    }
    std::int32_t best = -1;
  } last;
  // The first prompt's text, each token from a pass over everything before it.
  std::vector<std::int32_t> ids = report.inputs.suites[0].token_ids[0].ids;
  for (const std::int32_t token : report.generation->prompts[0].texts[1].ids) {
    Batch batch;
    batch.add("p", ids);
    run_lockstep(pool_, std::span(&lane, 1), batch, {}, last);
    EXPECT_EQ(last.best, token) << "after " << ids.size();
    ids.push_back(token);
  }
}

TEST_F(GenerateTest, TextsDependNeitherOnTheBatchNorOnStreaming) {
  const auto sampled = [](GenerateOptions& options) {
    options.sampling = {.temperature = 0.8, .top_p = 0.95, .seed = 5};
  };
  const Report together = generate(sampled);
  const Report alone = generate([&](GenerateOptions& options) {
    sampled(options);
    options.batch = 1;
    options.streamed = true;
  });
  const Report other = generate([&](GenerateOptions& options) {
    sampled(options);
    options.sampling.seed = 6;
  });
  for (std::size_t lane = 0; lane < 3; ++lane) {
    EXPECT_EQ(ids_of_lane(together, lane), ids_of_lane(alone, lane));
  }
  EXPECT_NE(ids_of_lane(together, 1), ids_of_lane(other, 1));
  EXPECT_FALSE(together.generation->margin) << "what was sampled has no near ties";
}

TEST_F(GenerateTest, ABrokenMergePartsAndLosesItsScenarios) {
  const Report right = generate();
  const std::string text = right.generation->prompts[0].texts[1].text;
  // What the adapter writes first is what the scenario asks for.
  write_suite_of(R"({"contains": ")" + text.substr(0, 12) + "\"}");
  EXPECT_EQ(generate().status, RunStatus::kPass);
  const TemporaryFolder broken;
  demo_ = write_demo(broken.path(), "base", pool_);
  const Report report = generate();
  EXPECT_EQ(report.status, RunStatus::kFail);
  const GenerationPair& pair = report.generation->pairs[1];
  EXPECT_EQ(pair.scenarios_lost, 1);
  EXPECT_GT(pair.real, 0);
  EXPECT_EQ(report.generation->lanes[1].passed, 1);
  EXPECT_EQ(report.generation->lanes[2].passed, 0);
  const Departure& departure = report.generation->prompts[0].departures.back();
  EXPECT_EQ(departure.near_tie, false);
  EXPECT_GT(*departure.reference_gap, 0.0);
  EXPECT_GT(*departure.subject_gap, 0.0);
  const auto verdict =
      std::find_if(report.verdicts.begin(), report.verdicts.end(),
                   [](const Verdict& each) { return each.gate == "generation.scenarios"; });
  ASSERT_NE(verdict, report.verdicts.end());
  EXPECT_EQ(verdict->status, GateStatus::kFail);
  EXPECT_EQ(verdict->reason, "scenarios are lost where the lanes did not hesitate");
}

TEST_F(GenerateTest, LanesMayBeLeftOut) {
  const Report report = generate([](GenerateOptions& options) {
    options.adapter.clear();
    options.max_tokens = 3;
  });
  EXPECT_EQ(report.status, RunStatus::kPass);
  ASSERT_EQ(report.generation->pairs.size(), 1U);
  EXPECT_EQ(report.generation->pairs[0].reference, "base");
  EXPECT_TRUE(report.verdicts.empty()) << "nobody says that merged should write as base does";
  const GenerationPair& pair = report.generation->pairs[0];
  EXPECT_EQ(pair.identical + pair.unjudged, pair.prompts);
}

TEST_F(GenerateTest, PromptsWithImagesAreRefused) {
  const std::filesystem::path golden = std::filesystem::path(MG_TEST_DATA) / "golden/qwen2-vl";
  GenerateOptions options;
  options.base = golden / "base";
  options.suites = {(golden / "inputs.jsonl").string()};
  const Report report = run_generate(options, pool_, [](const std::string&, double) {});
  ASSERT_TRUE(report.error);
  EXPECT_EQ(report.error->code, "generate.images");
  EXPECT_EQ(report.error->where, "prompt \"image0\"");
}

}  // namespace
}  // namespace mg
