// mergegauge bench --openai --logprobs, as a user runs it, against a server whose log-probabilities
// are made of the engine's own logits (`mergegauge logits`): right ones, and damaged in every way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>

#include "harness/io/tokenizer/tokenizer.h"
#include "tests/cli/subprocess.h"
#include "tests/client/test_server.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

using testing::HasSubstr;
using testing::Not;
using Ids = std::vector<std::int32_t>;
using OrderedJson = nlohmann::ordered_json;

constexpr std::int64_t kTop = 5;
constexpr std::size_t kPrompts = 6;

const std::string kDemo = std::string(MG_TEST_DATA) + "/demo/";

Ids prompt_ids(std::size_t p) {
  const auto i = static_cast<std::int32_t>(p);
  return {10 + i, 20 + 3 * i, 30 + i, 40};
}
Ids answer_ids(std::size_t p) {
  const auto i = static_cast<std::int32_t>(p);
  return {50 + i, 60 + 2 * i, 70};
}

/// How tokens are named.
enum class Form { kTokenIds, kTexts, kContent };

/// Log-probabilities of every token in the places of an answer.
using Rows = std::vector<std::vector<double>>;

/// FP32 tensors of a safetensors file, by name.
std::map<std::string, std::vector<float>> read_tensors(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof(length));
  std::string header(length, ' ');
  file.read(header.data(), static_cast<std::streamsize>(length));
  std::map<std::string, std::vector<float>> tensors;
  const nlohmann::json entries = nlohmann::json::parse(header);
  for (const auto& [name, entry] : entries.items()) {
    if (name != "__metadata__") {
      const std::uint64_t begin = entry["data_offsets"][0];
      const std::uint64_t end = entry["data_offsets"][1];
      std::vector<float>& values = tensors[name];
      values.resize((end - begin) / sizeof(float));
      file.seekg(static_cast<std::streamoff>(sizeof(length) + length + begin));
      file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(end - begin));
    }
  }
  return tensors;
}

std::vector<double> log_softmax(const float* logits, std::size_t vocab) {
  double sum = 0;
  for (std::size_t i = 0; i < vocab; ++i) {
    sum += std::exp(static_cast<double>(logits[i]));
  }
  std::vector<double> row;
  for (std::size_t i = 0; i < vocab; ++i) {
    row.push_back(static_cast<double>(logits[i]) - std::log(sum));
  }
  return row;
}

class ServerLogprobsCommand : public testing::Test {
 protected:
  ServerLogprobsCommand() : tokenizer_(Tokenizer::open(kDemo + "base/tokenizer.json")) {
    std::ofstream prompts(file("prompts.jsonl"));
    std::ofstream texts(file("texts.jsonl"));
    for (std::size_t p = 0; p < kPrompts; ++p) {
      Ids whole = prompt_ids(p);
      prompts << OrderedJson{{"id", name(p)}, {"input_ids", whole}}.dump() << "\n";
      const Ids answer = answer_ids(p);
      whole.insert(whole.end(), answer.begin(), answer.end());
      texts << OrderedJson{{"id", name(p)}, {"input_ids", whole}}.dump() << "\n";
    }
    texts.close();
    prompts.close();
    answers_["whole"] = run_engine("merged", "");
    answers_["lora"] = run_engine("base", "adapter");
  }

  static std::string name(std::size_t p) { return "p" + std::to_string(p); }
  std::string file(const std::string& name) const { return (folder_.path() / name).string(); }

  std::map<Ids, Rows> run_engine(const std::string& model, const std::string& adapter) const {
    std::vector<std::string> arguments{"logits",
                                       "--model",
                                       kDemo + model,
                                       "--suite",
                                       file("texts.jsonl"),
                                       "--out",
                                       file("logits.safetensors")};
    if (!adapter.empty()) {
      arguments.insert(arguments.end(), {"--adapter", kDemo + adapter});
    }
    const RunResult run = run_mergegauge(arguments);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    const auto tensors = read_tensors(file("logits.safetensors"));
    std::map<Ids, Rows> answers;
    for (std::size_t p = 0; p < kPrompts; ++p) {
      const std::vector<float>& logits = tensors.at(name(p));
      const std::size_t tokens = prompt_ids(p).size() + answer_ids(p).size();
      const std::size_t vocab = logits.size() / tokens;
      for (std::size_t i = 0; i < answer_ids(p).size(); ++i) {
        answers[prompt_ids(p)].push_back(
            log_softmax(logits.data() + (prompt_ids(p).size() - 1 + i) * vocab, vocab));
      }
    }
    return answers;
  }

  std::string token_name(std::int32_t id) const {
    return form_ == Form::kTokenIds ? "token_id:" + std::to_string(id)
                                    : tokenizer_.decode(std::span(&id, 1), /*skip_special=*/false);
  }

  OrderedJson named(std::int32_t id, double logprob) const {
    return {{"id", id}, {"token", "?"}, {"logprob", logprob}};
  }

  /// choices[0].logprobs of an answer.
  OrderedJson logprobs_of(const Ids& answer, const Rows& rows, std::size_t tokens,
                          std::size_t top) const {
    OrderedJson lists{{"tokens", OrderedJson::array()},
                      {"token_logprobs", OrderedJson::array()},
                      {"top_logprobs", OrderedJson::array()}};
    OrderedJson content = OrderedJson::array();
    for (std::size_t i = 0; i < std::min(tokens, answer.size()); ++i) {
      Ids order(rows[i].size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](std::int32_t left, std::int32_t right) {
        return rows[i][static_cast<std::size_t>(left)] > rows[i][static_cast<std::size_t>(right)];
      });
      OrderedJson listed = OrderedJson::object();
      OrderedJson objects = OrderedJson::array();
      for (std::size_t k = 0; k < top; ++k) {
        const double logprob = rows[i][static_cast<std::size_t>(order[k])];
        listed[token_name(order[k])] = logprob;
        objects.push_back(named(order[k], logprob));
      }
      const double logprob = rows[i][static_cast<std::size_t>(answer[i])];
      lists["tokens"].push_back(token_name(answer[i]));
      lists["token_logprobs"].push_back(logprob);
      lists["top_logprobs"].push_back(listed);
      content.push_back(named(answer[i], logprob));
      content.back()["top_logprobs"] = objects;
    }
    return form_ == Form::kContent ? OrderedJson{{"content", content}} : lists;
  }

  void answer(const test::Received& request, test::Wire& wire) {
    const auto asked = OrderedJson::parse(request.body.empty() ? "{}" : request.body);
    if (!asked.contains("logprobs")) {
      streams_(request, wire);
      return;
    }
    const Ids prompt = asked["prompt"].get<Ids>();
    std::size_t p = 0;
    while (prompt_ids(p) != prompt) {
      ++p;
    }
    const std::string model = asked["model"];
    const auto tokens =
        std::min<std::size_t>(asked["max_tokens"].get<std::size_t>(), answer_ids(p).size());
    OrderedJson body{{"model", model},
                     {"choices",
                      {{{"text", "..."},
                        {"logprobs", logprobs_of(answer_ids(p), answers_[model][prompt], tokens,
                                                 static_cast<std::size_t>(kTop))}}}},
                     {"usage", {{"prompt_tokens", 4}, {"completion_tokens", tokens}}}};
    const bool probe = tokens == 1;
    if (damage_ && !(probe && spare_probe_)) {
      damage_(body);
    }
    const std::string text = body.dump();
    wire.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
              std::to_string(text.size()) + "\r\n\r\n" + text);
  }

  RunResult run(const std::vector<std::string>& more = {}) {
    const test::TestServer server(
        [this](const test::Received& request, test::Wire& wire) { answer(request, wire); });
    std::vector<std::string> arguments{"bench",
                                       "--openai",
                                       server.url(),
                                       "--model",
                                       "whole",
                                       "--rounds",
                                       "5",
                                       "--requests",
                                       "1",
                                       "--margin",
                                       "100000",
                                       "--merged",
                                       kDemo + "merged",
                                       "--suite",
                                       file("prompts.jsonl"),
                                       "--max-tokens",
                                       "3",
                                       "--logprobs",
                                       std::to_string(kTop)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_mergegauge(arguments);
  }

  /// The lane's log-probabilities in the report of a run, which is to end with `exit_code`.
  nlohmann::json merged_in(int exit_code) {
    const RunResult done = run({"--json", "-"});
    EXPECT_EQ(done.exit_code, exit_code) << done.out << done.err;
    report_ = nlohmann::json::parse(done.out, nullptr, /*allow_exceptions=*/false);
    return report_.is_discarded() ? report_ : report_["bench"]["server"]["lanes"][0]["logprobs"];
  }

  std::string rules() const {
    std::string all;
    for (const auto& finding : report_["findings"]) {
      all += finding["rule"].get<std::string>() + " ";
    }
    return all;
  }

  std::string gate() const {
    for (const auto& verdict : report_["verdicts"]) {
      if (verdict["gate"] == "server.logprobs") {
        return verdict["status"].get<std::string>() + ": " + verdict["reason"].get<std::string>();
      }
    }
    return "none";
  }

  static OrderedJson& lists(OrderedJson& body) { return body["choices"][0]["logprobs"]; }

  const ScratchFolder folder_;
  const Tokenizer tokenizer_;
  std::map<std::string, std::map<Ids, Rows>> answers_;
  test::Respond streams_ = test::stand_in({{"whole", {}}, {"lora", {}}});
  Form form_ = Form::kTokenIds;
  std::function<void(OrderedJson& body)> damage_;
  bool spare_probe_ = true;
  nlohmann::json report_;
};

TEST_F(ServerLogprobsCommand, RightOnesOfBothModelsAreTheEngines) {
  const RunResult done = run({"--adapter-model", "lora", "--base", kDemo + "base", "--adapter",
                              kDemo + "adapter", "--json", file("report.json")});
  EXPECT_EQ(done.exit_code, 0) << done.out << done.err;
  EXPECT_THAT(done.out, HasSubstr("log-probabilities: 18 tokens of 6 answers"));
  std::ifstream written(file("report.json"));
  report_ = nlohmann::json::parse(written);
  const auto& lanes = report_["bench"]["server"]["lanes"];
  ASSERT_EQ(lanes.size(), 2U);
  for (const auto& lane : lanes) {
    const auto& logprobs = lane["logprobs"];
    EXPECT_EQ(logprobs["positions"], 18) << lane["lane"];
    EXPECT_LT(logprobs["max"].get<double>(), 1e-6) << lane["lane"];
    EXPECT_LT(logprobs["top_mean"].get<double>(), 1e-6);
    EXPECT_EQ(logprobs["top1"], 1.0);
    EXPECT_EQ(logprobs["top_share"], 1.0);
    EXPECT_GT(logprobs["floor"].get<double>(), 0.0);
    EXPECT_EQ(logprobs["left_out"], 0);
  }
  EXPECT_EQ(gate(), "pass: the server's log-probabilities are the engine's");
}

TEST_F(ServerLogprobsCommand, IdsBesideTokensAndTextsOfTokensSayTheSame) {
  form_ = Form::kContent;
  EXPECT_LT(merged_in(0)["max"].get<double>(), 1e-6);
  form_ = Form::kTexts;
  const auto texts = merged_in(0);
  EXPECT_LT(texts["max"].get<double>(), 1e-6);
  EXPECT_EQ(texts["positions"].get<int>() + texts["left_out"].get<int>(), 18);
}

TEST_F(ServerLogprobsCommand, AShiftIsFoundAndItsPlaceNamed) {
  damage_ = [](OrderedJson& body) {
    for (auto& logprob : lists(body)["token_logprobs"]) {
      logprob = logprob.get<double>() - 0.1;
    }
  };
  const auto shifted = merged_in(1);
  EXPECT_NEAR(shifted["mean"].get<double>(), 0.1, 1e-6);
  EXPECT_NEAR(shifted["max"].get<double>(), 0.1, 1e-6);
  EXPECT_EQ(gate(), "fail: \"whole\" on the server does not answer as the folders do");
  damage_ = [](OrderedJson& body) {
    if (lists(body)["tokens"][0] == "token_id:53") {
      lists(body)["token_logprobs"][1] = lists(body)["token_logprobs"][1].get<double>() - 0.01;
    }
  };
  const auto once = merged_in(0);
  EXPECT_NEAR(once["max"].get<double>(), 0.01, 1e-6);
  EXPECT_EQ(once["worst"].dump(), R"({"position":1,"prompt":"p3","token":66})");
  EXPECT_NEAR(once["worst_server"].get<double>(), once["worst_engine"].get<double>() - 0.01, 1e-6);
}

TEST_F(ServerLogprobsCommand, AnotherModelBehindTheNameIsFound) {
  answers_["whole"] = run_engine("base", "");
  const auto other = merged_in(1);
  EXPECT_GT(other["mean"].get<double>(), 0.02);
  const RunResult done = run();
  EXPECT_THAT(done.out,
              testing::StartsWith("FAIL  The server's models do not answer as the folders do.\n"));
  EXPECT_THAT(done.out, HasSubstr("Gate server.logprobs: \"whole\" on the server does not answer "
                                  "as the folders do: "));
}

TEST_F(ServerLogprobsCommand, WrongIdsAreFound) {
  damage_ = [](OrderedJson& body) {
    for (auto& token : lists(body)["tokens"]) {
      token = "token_id:" + std::to_string(std::stoi(token.get<std::string>().substr(9)) + 1);
    }
  };
  EXPECT_GT(merged_in(1)["mean"].get<double>(), 0.02);
  damage_ = [](OrderedJson& body) { lists(body)["tokens"][0] = "token_id:999999"; };
  const auto outside = merged_in(3);
  EXPECT_EQ(outside["positions"], 0);
  EXPECT_EQ(outside["left_out"], 18);
  EXPECT_TRUE(outside["mean"].is_null());
  EXPECT_THAT(gate(), HasSubstr("inconclusive: nothing could be compared: prompt \"p0\", token 0: "
                                "id 999999 lies outside the vocabulary of "));
  EXPECT_THAT(rules(), HasSubstr("server.logprobs-unknown-tokens"));
}

TEST_F(ServerLogprobsCommand, WhatIsNoLogProbabilityIsCountedAndNeverANumber) {
  damage_ = [](OrderedJson& body) {
    lists(body)["token_logprobs"][0] = nullptr;
    lists(body)["token_logprobs"][1] = 0.5;
    lists(body)["token_logprobs"][2] = -9999.0;
  };
  const auto none = merged_in(3);
  EXPECT_EQ(none["positions"], 0);
  EXPECT_EQ(none["unusable"], 18);
  EXPECT_EQ(none["first_unusable"], "prompt \"p0\", token 0: \"token_id:50\" has null");
  EXPECT_THAT(rules(), HasSubstr("server.logprobs-unusable"));
}

TEST_F(ServerLogprobsCommand, TooFewAreCountedAndNamed) {
  damage_ = [](OrderedJson& body) {
    for (auto& top : lists(body)["top_logprobs"]) {
      top.erase(top.begin());
    }
  };
  const auto fewer = merged_in(0);
  EXPECT_EQ(fewer["short_lists"], 18);
  EXPECT_EQ(fewer["top1"], 0.0) << "the likeliest is not listed";
  EXPECT_THAT(rules(), HasSubstr("server.logprobs-short-lists"));
  damage_ = [](OrderedJson& body) { body["usage"]["completion_tokens"] = 2; };
  const auto other = merged_in(3);
  EXPECT_EQ(other["failed"], 6);
  EXPECT_THAT(other["first_failure"].get<std::string>(), HasSubstr("prompt \"p0\": other-count"));
  EXPECT_THAT(rules(), HasSubstr("server.logprobs-failed"));
}

TEST_F(ServerLogprobsCommand, AServerWithoutThemIsAnErrorBeforeAnythingIsMeasured) {
  spare_probe_ = false;
  damage_ = [](OrderedJson& body) { lists(body) = nullptr; };
  const RunResult done = run();
  EXPECT_EQ(done.exit_code, 2) << done.err;
  EXPECT_THAT(done.out, HasSubstr("The server gives no log-probabilities for \"whole\""));
  EXPECT_THAT(done.out, HasSubstr("no-logprobs"));
  EXPECT_THAT(done.out, Not(HasSubstr("tokens/s")));
}

TEST_F(ServerLogprobsCommand, TheFoldersAreAskedFor) {
  const auto usage = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{
        "bench", "--openai", "http://127.0.0.1:1", "--model", "m", "--logprobs", "5"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const RunResult run = run_mergegauge(arguments);
    EXPECT_EQ(run.exit_code, 2);
    return run.err;
  };
  EXPECT_THAT(usage({}), HasSubstr("--logprobs: --merged is required"));
  EXPECT_THAT(usage({"--merged", "m", "--adapter-model", "a"}),
              HasSubstr("--logprobs: --base is required"));
  EXPECT_THAT(usage({"--merged", "m", "--adapter-model", "a", "--base", "b"}),
              HasSubstr("--logprobs: --adapter is required"));
}

}  // namespace
}  // namespace mg
