// What the rounds make of answers whose times are known: no server, no waiting.
#include "harness/client/server_bench.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "harness/metrics/random.h"
#include "suites/reader.h"

namespace mg {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// How a model of the made-up server answers, in seconds.
struct Pace {
  double first_token = 0.5;
  double between = 0.1;
};

/// A server whose turns take as long as their slowest request, on a clock that only they move.
class ServerBenchTest : public ::testing::Test {
 protected:
  ServerBenchTest() {
    options_.url = {.base = "http://made.up/v1"};
    options_.models = {{"adapter", "lora"}, {"merged", "whole"}};
    for (int i = 0; i < 200; ++i) {
      options_.prompts.push_back({.id = fmt::format("p{}", i),
                                  .chat = false,
                                  .content = fmt::format("\"prompt\":\"{}\"", i)});
    }
    options_.completion.max_tokens = 5;
    options_.requests = 4;
    options_.bootstrap = {.replicates = 2000, .seed = 1};
    options_.clock = [this] { return now_; };
  }

  ServerRun run() {
    return run_server_bench(
        options_, [this](std::span<const HttpRequest> requests) { return answer(requests); },
        [](double) {});
  }

  /// 2 % of jitter, the same in each run.
  double jitter() { return 1 + 0.0002 * static_cast<double>(jitter_.below(101)); }

  std::vector<HttpAnswer> answer(std::span<const HttpRequest> requests) {
    std::vector<HttpAnswer> answers;
    double end = now_;
    for (const HttpRequest& request : requests) {
      const auto body = nlohmann::json::parse(request.body);
      const std::string model = body["model"];
      asked_[model].push_back(body["prompt"]);
      const Pace& pace = paces_.at(model);
      const double slow = jitter();
      HttpAnswer raw;
      raw.status = 200;
      raw.content_type = "text/event-stream";
      raw.due = raw.sent = now_;
      double at = now_ + slow * pace.first_token;
      const auto event = [&](const std::string& members) {
        raw.body += "data: {\"model\":\"" + model + "\"," + members + "}\n\n";
        raw.arrivals.push_back({at, raw.body.size()});
      };
      for (int i = 0; i < 5; ++i) {
        at += i == 0 ? 0 : slow * pace.between;
        event(R"("choices":[{"text":"a"}])");
      }
      if (usage_) {
        event(R"("choices":[],"usage":{"prompt_tokens":6,"completion_tokens":5})");
      }
      raw.body += "data: [DONE]\n\n";
      raw.arrivals.push_back({at, raw.body.size()});
      raw.ended = at;
      end = std::max(end, at);
      answers.push_back(std::move(raw));
      if (damage_) {
        damage_(model, answers.back());
      }
    }
    now_ = end;
    return answers;
  }

  static std::map<std::string, GateStatus> gates(const ServerRun& run) {
    std::map<std::string, GateStatus> all;
    for (const Verdict& verdict : run.verdicts) {
      const bool answers = verdict.gate == "server.answers";
      all[answers ? verdict.gate + " " + verdict.subject : verdict.gate] = verdict.status;
    }
    return all;
  }

  static std::vector<std::string> rules(const ServerRun& run) {
    std::vector<std::string> all;
    for (const Finding& finding : run.findings) {
      all.push_back(finding.rule);
    }
    return all;
  }

  ServerBenchOptions options_;
  std::map<std::string, Pace> paces_{{"lora", {}}, {"whole", {}}};
  std::map<std::string, std::vector<std::string>> asked_;
  std::function<void(const std::string& model, HttpAnswer& raw)> damage_;
  bool usage_ = true;
  double now_ = 0;
  SplitMix64 jitter_{3};
};

TEST_F(ServerBenchTest, TheSameModelTwiceIsEquivalent) {
  const ServerRun done = run();
  ASSERT_EQ(done.result.ratios.size(), 3U);
  for (const BenchRatio& ratio : done.result.ratios) {
    EXPECT_EQ(ratio.decision, "equivalent") << ratio.phase;
    EXPECT_EQ(ratio.reference + "/" + ratio.subject, "adapter/merged");
  }
  for (const auto& [gate, status] : gates(done)) {
    EXPECT_EQ(status, GateStatus::kPass) << gate;
  }
  EXPECT_THAT(rules(done), IsEmpty());
  const ServerResult& server = *done.result.server;
  EXPECT_EQ(server.endpoint, "completions");
  ASSERT_EQ(server.lanes.size(), 2U);
  const ServerLane& lane = server.lanes[1];
  EXPECT_EQ(lane.lane, "merged");
  EXPECT_EQ(lane.requests, 2 * 13 * 4) << "the warm-up's too";
  EXPECT_EQ(lane.rounds, 12);
  ASSERT_EQ(lane.outcomes.size(), 1U);
  EXPECT_EQ(lane.outcomes[0].name, "ok");
  // A turn of 4 answers of 5 tokens takes its slowest, 0.9 s to 0.918 s.
  EXPECT_NEAR(*lane.tokens_per_s, 20 / 0.912, 0.3);
  EXPECT_EQ(lane.tokens, 5);
  EXPECT_EQ(lane.prompt_tokens, 6);
  EXPECT_EQ(lane.tokens_counted, "usage");
  EXPECT_EQ(lane.first_token.count, 96);
  EXPECT_NEAR(*lane.first_token.p50, 0.505, 0.003);
  EXPECT_FALSE(lane.first_token.p90) << "of 96 values fewer than 10 lie beyond it";
  EXPECT_EQ(lane.inter_token.count, 4 * 96);
  EXPECT_NEAR(*lane.inter_token.p90, 0.1018, 0.0003);
  EXPECT_FALSE(lane.inter_token.p99);
}

TEST_F(ServerBenchTest, EachPartOfAnAnswerHasItsOwnRatio) {
  paces_["whole"] = {.first_token = 1.0, .between = 0.1};
  const ServerRun slow_start = run();
  EXPECT_EQ(slow_start.result.ratios[1].phase, "first-token");
  EXPECT_NEAR(*slow_start.result.ratios[1].value, 0.5, 0.02);
  EXPECT_EQ(gates(slow_start).at("server.first-token"), GateStatus::kFail);
  EXPECT_EQ(gates(slow_start).at("server.inter-token"), GateStatus::kPass);
  paces_["whole"] = {.first_token = 0.5, .between = 0.15};
  const ServerRun slow_going = run();
  EXPECT_EQ(gates(slow_going).at("server.first-token"), GateStatus::kPass);
  EXPECT_EQ(gates(slow_going).at("server.inter-token"), GateStatus::kFail);
  EXPECT_EQ(gates(slow_going).at("server.throughput"), GateStatus::kFail);
  paces_ = {{"lora", {.first_token = 1.0, .between = 0.2}}, {"whole", {}}};
  const ServerRun faster = run();
  for (const BenchRatio& ratio : faster.result.ratios) {
    EXPECT_NEAR(*ratio.value, 2, 0.1) << ratio.phase;
    EXPECT_EQ(ratio.decision, "faster");
  }
}

TEST_F(ServerBenchTest, ModelsAreAskedTheSameAndNothingTwice) {
  options_.rounds = 2;
  run();
  EXPECT_EQ(asked_["lora"], asked_["whole"]);
  EXPECT_EQ(asked_["lora"].size(), 24U);
  const std::set<std::string> different(asked_["lora"].begin(), asked_["lora"].end());
  EXPECT_EQ(different.size(), 24U);
}

TEST_F(ServerBenchTest, PromptsThatComeAgainAreTold) {
  options_.prompts.resize(7);
  const ServerRun done = run();
  EXPECT_THAT(rules(done), ElementsAre("server.prompts-again"));
  EXPECT_EQ(done.findings[0].expected, "104 prompts");
  EXPECT_EQ(done.findings[0].actual, "7 prompts");
}

TEST_F(ServerBenchTest, ARoundWithAFailureGivesNoRatio) {
  int answers = 0;
  damage_ = [&](const std::string& model, HttpAnswer& raw) {
    if (model == "whole" && ++answers % 40 == 0) {  // 2 of 104, in two rounds
      raw.status = 500;
      raw.body = R"({"error":"the key is hunter2"})";
      raw.arrivals = {{raw.ended, raw.body.size()}};
    }
  };
  options_.key = "hunter2";
  options_.url.loopback = true;
  const ServerRun done = run();
  const ServerLane& merged = done.result.server->lanes[1];
  ASSERT_EQ(merged.outcomes.size(), 2U);
  EXPECT_EQ(merged.outcomes[1].name, "http-500");
  EXPECT_EQ(merged.outcomes[1].requests, 2);
  EXPECT_EQ(merged.outcomes[1].example, "the key is ***");
  EXPECT_EQ(merged.rounds, 10);
  EXPECT_EQ(done.result.server->lanes[0].rounds, 10) << "rounds are pairs";
  EXPECT_EQ(merged.first_token.count, 94);
  EXPECT_THAT(rules(done), ElementsAre("server.rounds-left-out"));
  EXPECT_EQ(gates(done).at("server.answers merged"), GateStatus::kFail);
  EXPECT_EQ(gates(done).at("server.answers adapter"), GateStatus::kPass);
  EXPECT_EQ(gates(done).at("server.throughput"), GateStatus::kPass);
  for (const Verdict& verdict : done.verdicts) {
    if (verdict.gate == "server.answers" && verdict.subject == "merged") {
      EXPECT_EQ(verdict.reason, "2 of 104 requests to whole failed: 2 http-500");
    }
  }
  options_.error_limit = 0.05;
  answers = 0;
  EXPECT_EQ(gates(run()).at("server.answers merged"), GateStatus::kPass);
}

TEST_F(ServerBenchTest, AReferenceThatFailsDecidesNothing) {
  damage_ = [turn = 0](const std::string& model, HttpAnswer& raw) mutable {
    if (model == "lora" && ++turn % 4 == 0) {  // one of each turn
      raw.end = HttpEnd::kCut;
    }
  };
  const ServerRun done = run();
  const auto all = gates(done);
  EXPECT_EQ(all.at("server.answers adapter"), GateStatus::kInconclusive);
  EXPECT_EQ(all.at("server.answers merged"), GateStatus::kPass);
  EXPECT_EQ(all.at("server.throughput"), GateStatus::kInconclusive);
  EXPECT_FALSE(done.result.ratios[0].value) << "no number of nothing";
  EXPECT_FALSE(done.result.server->lanes[0].tokens_per_s);
  EXPECT_FALSE(done.result.server->lanes[1].tokens_per_s) << "no round was whole";
  EXPECT_EQ(done.result.server->lanes[1].first_token.count, 96) << "but it was answered";
}

TEST_F(ServerBenchTest, AModelThatOnlyFailsIsNotAskedOn) {
  damage_ = [](const std::string& model, HttpAnswer& raw) {
    raw.end = model == "whole" ? HttpEnd::kTimedOut : HttpEnd::kWhole;
  };
  const ServerRun done = run();
  EXPECT_THAT(rules(done), ElementsAre("server.ended-early"));
  EXPECT_EQ(done.result.server->lanes[1].requests, 8) << "the warm-up";
  EXPECT_EQ(gates(done).at("server.answers merged"), GateStatus::kFail);
  EXPECT_EQ(gates(done).at("server.throughput"), GateStatus::kInconclusive);
  EXPECT_EQ(done.result.server->lanes[1].tokens_counted, "");
  EXPECT_FALSE(done.result.server->lanes[1].tokens);
}

TEST_F(ServerBenchTest, WithoutUsageEventsAreCountedAndThatIsTold) {
  usage_ = false;
  const ServerRun done = run();
  EXPECT_THAT(rules(done), ElementsAre("server.no-usage"));
  EXPECT_EQ(done.result.server->lanes[0].tokens_counted, "events");
  EXPECT_EQ(done.result.server->lanes[0].tokens, 5);
  EXPECT_FALSE(done.result.server->lanes[0].prompt_tokens);
}

TEST_F(ServerBenchTest, AModelAloneIsMeasuredWithoutARatio) {
  options_.models = {{"merged", "whole"}};
  const ServerRun done = run();
  EXPECT_THAT(done.result.ratios, IsEmpty());
  ASSERT_EQ(done.verdicts.size(), 1U);
  EXPECT_EQ(done.verdicts[0].status, GateStatus::kPass);
  EXPECT_TRUE(done.result.server->lanes[0].tokens_per_s);
}

TEST_F(ServerBenchTest, AClockThatStandsStillGivesNoRatio) {
  options_.clock = [] { return 1.0; };
  paces_ = {{"lora", {0, 0}}, {"whole", {0, 0}}};
  const ServerRun done = run();
  for (const BenchRatio& ratio : done.result.ratios) {
    EXPECT_FALSE(ratio.value) << ratio.phase;
  }
  EXPECT_FALSE(done.result.server->lanes[0].tokens_per_s);
}

TEST(LatencyTest, APercentileNeedsTenValuesBeyondIt) {
  const auto summary = [](std::size_t count) {
    std::vector<double> seconds;
    for (std::size_t i = count; i-- > 0;) {
      seconds.push_back(static_cast<double>(i));
    }
    return summarise_latency(seconds);
  };
  EXPECT_FALSE(summary(0).p50);
  EXPECT_FALSE(summary(0).max);
  EXPECT_FALSE(summary(19).p50);
  EXPECT_EQ(summary(21).p50, 10);
  EXPECT_FALSE(summary(99).p90);
  EXPECT_TRUE(summary(100).p90);
  EXPECT_FALSE(summary(999).p99);
  EXPECT_EQ(summary(1001).p99, 990);
  EXPECT_EQ(summary(5).max, 4);
}

TEST(ServerPromptsTest, AChatIsSentUpToWhatTheModelIsToWrite) {
  const Suite suite = parse_suite(
      R"({"id": "text", "text": "Hello \"you\""})"
      "\n"
      R"({"id": "ids", "input_ids": [1, 2, 3, 4], "completion": 3})"
      "\n"
      R"({"id": "chat", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]})"
      "\n"
      R"({"id": "alone", "messages": [{"role": "assistant", "content": "ho"}]})"
      "\n",
      "mixed", "mixed.jsonl");
  const ServerPrompts prompts = server_prompts({suite});
  ASSERT_EQ(prompts.prompts.size(), 3U);
  EXPECT_EQ(prompts.empty, 1);
  EXPECT_EQ(prompts.prompts[0].content, R"("prompt":"Hello \"you\"")");
  EXPECT_EQ(prompts.prompts[1].content, R"("prompt":[1,2,3])");
  EXPECT_TRUE(prompts.prompts[2].chat);
  EXPECT_EQ(prompts.prompts[2].content, R"("messages":[{"role":"user","content":"hi"}])");
}

}  // namespace
}  // namespace mg
