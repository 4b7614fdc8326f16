// What a server's log-probabilities are read as, which ids its tokens are, and what a comparison
// with the engine's own adds up to.
#include "harness/client/logprobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "harness/client/compare_logprobs.h"
#include "harness/client/token_ids.h"

namespace mg {
namespace {

using testing::HasSubstr;

LogprobAnswer read(const std::string& body, std::int64_t max_tokens = 8) {
  HttpAnswer raw;
  raw.status = 200;
  raw.body = body;
  return read_logprobs(raw, {.model = "m", .max_tokens = max_tokens});
}

std::string with_choice(const std::string& logprobs, const std::string& more = "") {
  return R"({"model":"m","choices":[{"text":"x","logprobs":)" + logprobs + "}]" + more + "}";
}

TEST(LogprobReaderTest, ListsOfTheCompletionsApi) {
  const LogprobAnswer answer =
      read(with_choice(R"({"tokens":["token_id:5"," b"],"token_logprobs":[-0.5,-0.25],)"
                       R"("top_logprobs":[{"token_id:7":-2,"token_id:5":-0.5},{" b":-0.25}]})",
                       R"(,"usage":{"completion_tokens":2})"));
  EXPECT_EQ(answer.fault, "");
  ASSERT_EQ(answer.positions.size(), 2U);
  EXPECT_EQ(answer.positions[0].chosen.id, 5);
  EXPECT_EQ(answer.positions[0].chosen.logprob, -0.5);
  ASSERT_EQ(answer.positions[0].top.size(), 2U);
  EXPECT_EQ(answer.positions[0].top[0].id, 5) << "the most likely first";
  EXPECT_EQ(answer.positions[0].top[1].id, 7);
  EXPECT_FALSE(answer.positions[1].chosen.id) << "a text is not an id";
  EXPECT_EQ(answer.positions[1].chosen.text, " b");
}

TEST(LogprobReaderTest, ObjectsOfTheChatApi) {
  const LogprobAnswer answer = read(with_choice(
      R"({"content":[{"id":5,"token":"a","bytes":[97],"logprob":-0.5,)"
      R"("top_logprobs":[{"id":6,"token":"b","logprob":-1},{"id":5,"token":"a","logprob":-0.5}]},)"
      R"({"token":"token_id:8","logprob":-0.1}]})"));
  ASSERT_EQ(answer.positions.size(), 2U);
  EXPECT_EQ(answer.positions[0].chosen.id, 5);
  EXPECT_EQ(answer.positions[0].top[0].id, 5);
  EXPECT_EQ(answer.positions[1].chosen.id, 8);
  EXPECT_TRUE(answer.positions[1].top.empty());
}

TEST(LogprobReaderTest, WhatIsNoLogProbabilityIsNone) {
  for (const std::string value :
       {"null", "\"-1\"", "0.5", "-9999.0", "-3.4028234663852886e38", "true", "[[]]"}) {
    const LogprobAnswer answer =
        read(with_choice(R"({"tokens":["a"],"token_logprobs":[)" + value + "]}"));
    ASSERT_EQ(answer.positions.size(), 1U) << value;
    EXPECT_FALSE(answer.positions[0].chosen.logprob) << value;
    EXPECT_FALSE(answer.positions[0].chosen.value.empty()) << value;
  }
  EXPECT_EQ(
      read(with_choice(R"({"tokens":["a"],"token_logprobs":[1e-7]})")).positions[0].chosen.logprob,
      1e-7)
      << "a probability of 1, rounded";
  EXPECT_EQ(read(with_choice(R"({"tokens":["a"],"token_logprobs":[NaN]})")).fault, "bad-json");
}

TEST(LogprobReaderTest, EveryOtherAnswerHasAName) {
  const std::string one = R"({"tokens":["a"],"token_logprobs":[-1],"top_logprobs":[{}]})";
  EXPECT_EQ(read(with_choice(one)).fault, "");
  EXPECT_EQ(read(with_choice("null")).fault, "no-logprobs");
  EXPECT_EQ(read(R"({"choices":[{"text":"x"}]})").fault, "no-logprobs");
  EXPECT_EQ(read(with_choice(R"({"content":[]})")).fault, "no-logprobs");
  EXPECT_EQ(read(with_choice(R"({"content":[7]})")).fault, "bad-logprobs");
  EXPECT_EQ(read(with_choice(R"({"tokens":["a"],"token_logprobs":[]})")).fault, "bad-logprobs");
  EXPECT_EQ(read(with_choice(R"({"tokens":[5],"token_logprobs":[-1]})")).fault, "bad-logprobs");
  EXPECT_EQ(read(with_choice("{}")).fault, "bad-logprobs");
  EXPECT_EQ(read("[]").fault, "bad-event");
  EXPECT_EQ(read(R"({"choices":[]})").fault, "bad-event");
  EXPECT_EQ(read("{").fault, "bad-json");
  EXPECT_EQ(read(R"({"model":"other","choices":[{}]})").fault, "wrong-model");
  EXPECT_EQ(read(with_choice(one, R"(,"usage":{"completion_tokens":2})")).fault, "other-count")
      << "llama.cpp leaves out what ends within a character";
  EXPECT_EQ(read(with_choice(one), 0).fault, "other-count") << "more than were asked for";
  HttpAnswer refused;
  refused.status = 400;
  refused.body = R"({"error":{"message":"logprobs must be at most 0"}})";
  const LogprobAnswer answer = read_logprobs(refused, {.model = "m", .max_tokens = 1});
  EXPECT_EQ(answer.fault, "http-400");
  EXPECT_EQ(answer.detail, "logprobs must be at most 0");
  HttpAnswer cut;
  cut.status = 200;
  cut.end = HttpEnd::kCut;
  EXPECT_EQ(read_logprobs(cut, {.model = "m", .max_tokens = 1}).fault, "cut");
}

TEST(LogprobReaderTest, TheRequestAsksForIds) {
  const std::vector<std::int32_t> ids{4, 2};
  const HttpRequest request = logprob_request("http://h/v1", "m", ids, 7, 5);
  EXPECT_EQ(request.url, "http://h/v1/completions");
  EXPECT_EQ(request.body,
            R"({"model":"m","prompt":[4,2],"max_tokens":7,"temperature":0,"logprobs":5,)"
            R"("return_tokens_as_token_ids":true,"stream":false})");
}

TokenLogprob token(const std::string& text, std::optional<std::int64_t> id = std::nullopt) {
  return {.id = id, .text = text, .logprob = -1, .value = {}};
}

/// Two spellings of one text (a byte that is no character), a blank before a full stop.
Tokenizer small_tokenizer() {
  return Tokenizer::parse(
      R"({"version":"1.0","normalizer":null,"post_processor":null,"added_tokens":[
          {"id":6,"content":"<end>","single_word":false,"lstrip":false,"rstrip":false,
           "normalized":false,"special":true}],
          "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,
                           "use_regex":true},
          "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,
                     "use_regex":true},
          "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
                   "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
                   "vocab":{"a":0,"Ġa":1,"Ã":2,"Ä":3,".":4,"Ġ.":5},"merges":[]}})",
      "tokenizer.json");
}

TEST(TokenIdsTest, ATextIsTheOneTokenThatItIsTheTextOf) {
  const Tokenizer tokenizer = small_tokenizer();
  TokenIds ids(&tokenizer, 7, /*cleaned_up=*/false);
  const auto of = [&](const std::string& text) { return ids.find(token(text)); };
  EXPECT_EQ(of("a").id, 0);
  EXPECT_EQ(of(" a").id, 1);
  EXPECT_EQ(of(".").id, 4);
  EXPECT_EQ(of(" .").id, 5);
  EXPECT_EQ(of("<end>").id, 6);
  EXPECT_EQ(of("Ġa").why, "\"Ġa\" is the text of no token") << "a spelling is no text";
  EXPECT_EQ(of("\xEF\xBF\xBD").why, "\"\xEF\xBF\xBD\" is the text of several tokens, 2 and 3");
  EXPECT_EQ(ids.find(token("a", 3)).id, 3) << "what the server says goes first";
  EXPECT_EQ(ids.find(token("", 7)).why, "id 7 lies outside the vocabulary of 7");
  EXPECT_EQ(ids.find(token("", -1)).why, "id -1 lies outside the vocabulary of 7");
  EXPECT_EQ(TokenIds(nullptr, 7, false).find(token("a")).why,
            "\"a\" comes as text, and no folder has a tokenizer");
}

TEST(TokenIdsTest, WhereBlanksMayBeTakenAFullStopIsTwoTokens) {
  const Tokenizer tokenizer = small_tokenizer();
  TokenIds ids(&tokenizer, 7, /*cleaned_up=*/true);
  EXPECT_EQ(ids.find(token(".")).why, "\".\" is the text of several tokens, 4 and 5");
  EXPECT_EQ(ids.find(token(" .")).id, 5);
  EXPECT_EQ(ids.find(token(" a")).id, 1);
}

TEST(KnownPositionsTest, EndBeforeTheFirstUnknownToken) {
  TokenIds ids(nullptr, 10, false);
  ServerLogprobs result;
  result.top = 2;
  LogprobAnswer answer;
  const auto said = [](std::optional<std::int64_t> id, std::optional<double> logprob) {
    return TokenLogprob{.id = id, .text = "t", .logprob = logprob, .value = "null"};
  };
  answer.positions = {{said(1, -1), {said(1, -1), said(1, -1), said(2, -2), said(3, -3)}},
                      {said(2, std::nullopt), {said(99, -1)}},
                      {said(std::nullopt, -1), {}},
                      {said(4, -1), {}}};
  const std::vector<KnownPosition> known = known_positions(answer, "p", ids, result);
  ASSERT_EQ(known.size(), 2U);
  ASSERT_EQ(known[0].top.size(), 2U) << "each id once, as many as were asked for";
  EXPECT_EQ(known[0].top[1].id, 2);
  EXPECT_TRUE(known[1].top.empty());
  EXPECT_EQ(result.left_out, 3) << "one without a number, one unknown, one behind it";
  EXPECT_EQ(result.unknown, 2);
  EXPECT_EQ(result.first_unknown, "prompt \"p\", token 1: id 99 lies outside the vocabulary of 10");
  EXPECT_EQ(result.unusable, 1);
  EXPECT_EQ(result.first_unusable, "prompt \"p\", token 1: \"t\" has null");
  EXPECT_EQ(result.short_lists, 1);
}

/// Answers of one token each: the server's log-probability lies `off` from the engine's.
ServerLane compared(std::size_t prompts, double off, double own = 0.001) {
  std::vector<ComparedAnswer> answers;
  for (std::size_t p = 0; p < prompts; ++p) {
    const double jitter = 1 + 0.01 * static_cast<double>(p % 3);
    LogprobRow engine{.finite = true,
                      .top = 7,
                      .exact = {-1, -1, -2},
                      .rounded = {-1 - own, -1 - own, -2},
                      .in_top = {true, true, false}};
    answers.push_back({"p" + std::to_string(p),
                       {{{7, "t", -1 - off * jitter}, {{7, "t", -1}, {8, "u", -2.5}}}},
                       {engine}});
  }
  ServerLane lane;
  lane.lane = "merged";
  lane.model = "m";
  lane.logprobs.emplace();
  lane.logprobs->prompts = static_cast<std::int64_t>(prompts);
  ThreadPool pool(1);
  summarise_logprobs(answers, {.replicates = 500, .seed = 1}, pool, *lane.logprobs);
  return lane;
}

TEST(CompareLogprobsTest, AddsUpWhatWasCompared) {
  const ServerLane lane = compared(6, 0.1);
  const ServerLogprobs& logprobs = *lane.logprobs;
  EXPECT_EQ(logprobs.positions, 6);
  EXPECT_NEAR(*logprobs.mean, 0.101, 1e-9);
  EXPECT_NEAR(*logprobs.max, 0.102, 1e-9);
  EXPECT_EQ(logprobs.worst->prompt, "p2") << "the first of the largest";
  EXPECT_EQ(logprobs.worst->token, 7);
  EXPECT_EQ(logprobs.top1, 1.0);
  EXPECT_EQ(logprobs.top_share, 0.5);
  EXPECT_NEAR(*logprobs.top_mean, 0.25, 1e-12);
  EXPECT_NEAR(*logprobs.floor, 0.001, 1e-12);
}

TEST(CompareLogprobsTest, TheGateHoldsTheMeanAgainstTheArithmeticsOwnNoise) {
  const auto status = [](const ServerLane& lane) { return judge_logprobs(lane).status; };
  EXPECT_EQ(status(compared(6, 0.01)), GateStatus::kPass);
  EXPECT_EQ(status(compared(25, 0.01)), GateStatus::kPass) << "by the bootstrap";
  EXPECT_EQ(status(compared(6, 0.1)), GateStatus::kFail);
  EXPECT_EQ(status(compared(6, 0.1, 0.03)), GateStatus::kPass) << "4 times 0.03 allows it";
  EXPECT_EQ(status(compared(4, 0.01)), GateStatus::kInconclusive) << "too few for an interval";
  EXPECT_EQ(status(compared(0, 0)), GateStatus::kInconclusive);
  ServerLane lane = compared(6, 0.01);
  lane.logprobs->left_out = 7;
  EXPECT_THAT(judge_logprobs(lane).reason, HasSubstr("too few could be compared: 7 tokens"));
  lane.logprobs->engine_non_finite = 2;
  EXPECT_EQ(judge_logprobs(lane).reason, "the engine's logits are not finite in 2 of 8 places");
  EXPECT_EQ(status(lane), GateStatus::kFail);
}

TEST(CompareLogprobsTest, NumbersOfTheEngineThatAreNotFiniteAreNone) {
  ServerLogprobs result;
  ThreadPool pool(1);
  const KnownPosition said{{7, "t", -1.0}, {}};
  const LogprobRow lost{.finite = false, .top = 0, .exact = {}, .rounded = {}, .in_top = {}};
  const LogprobRow overflowed{.finite = true,
                              .top = 7,
                              .exact = {-1},
                              .rounded = {std::numeric_limits<double>::quiet_NaN()},
                              .in_top = {true}};
  const std::vector<ComparedAnswer> answers{{"p", {said, said}, {lost, overflowed}}};
  summarise_logprobs(answers, {}, pool, result);
  EXPECT_EQ(result.engine_non_finite, 1);
  EXPECT_EQ(result.positions, 1);
  EXPECT_EQ(result.mean, 0.0);
  EXPECT_FALSE(result.floor) << "a NaN is no noise";
}

}  // namespace
}  // namespace mg
