// What an answer amounts to, from bytes and times that are known.
#include "harness/client/answer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mg {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const Asked kCompletion{.model = "m", .chat = false, .max_tokens = 8};
const Asked kChat{.model = "m", .chat = true, .max_tokens = 8};

/// A stream whose piece i came at second 10 + i; it was sent at second 9.
HttpAnswer stream(const std::vector<std::string>& pieces) {
  HttpAnswer raw;
  raw.status = 200;
  raw.content_type = "text/event-stream; charset=utf-8";
  raw.sent = 9;
  for (const std::string& piece : pieces) {
    raw.body += piece;
    raw.arrivals.push_back({10.0 + static_cast<double>(raw.arrivals.size()), raw.body.size()});
  }
  raw.ended = 10.0 + static_cast<double>(pieces.size());
  return raw;
}

std::string text_event(const std::string& text, const std::string& finish = "null") {
  return fmt::format(
      R"(data: {{"id":"c1","model":"m","choices":[{{"index":0,"text":"{}","finish_reason":{}}}]}})"
      "\n\n",
      text, finish);
}

std::string delta_event(const std::string& delta, const std::string& finish = "null") {
  return fmt::format(
      R"(data: {{"id":"c1","model":"m","choices":[{{"delta":{},"finish_reason":{}}}]}})"
      "\n\n",
      delta, finish);
}

std::string usage_event(const std::string& usage) {
  return fmt::format(R"(data: {{"id":"c1","model":"m","choices":[],"usage":{}}})"
                     "\n\n",
                     usage);
}

const std::string kDone = "data: [DONE]\n\n";
const std::string kUsage = usage_event(R"({"prompt_tokens":5,"completion_tokens":2})");

TEST(AnswerTest, AWholeAnswerGivesItsTimesAndCounts) {
  const Answer answer = read_answer(
      stream({text_event(""), text_event("a"), text_event("b", "\"length\""), kUsage, kDone}),
      kCompletion);
  EXPECT_EQ(answer.name, "ok");
  EXPECT_TRUE(answer.usable());
  EXPECT_EQ(answer.sent, 9);
  EXPECT_THAT(answer.texts, ElementsAre(11, 12)) << "the empty text is no token";
  EXPECT_EQ(answer.prompt_tokens, 5);
  EXPECT_EQ(answer.tokens, 2);
  EXPECT_TRUE(answer.names_model);
}

TEST(AnswerTest, AnEventCountsWhenItsLastByteIsThere) {
  const std::string event = text_event("a", "\"stop\"");
  const Answer answer = read_answer(
      stream({event.substr(0, 5), event.substr(5, 20), event.substr(25), kDone}), kCompletion);
  EXPECT_EQ(answer.name, "ok");
  EXPECT_THAT(answer.texts, ElementsAre(12));
  EXPECT_FALSE(answer.tokens);
}

TEST(AnswerTest, AChatsRoleIsNoToken) {
  const Answer answer = read_answer(
      stream({delta_event(R"({"role":"assistant","content":""})"),
              delta_event(R"({"reasoning_content":"hm"})"), delta_event(R"({"content":"a"})"),
              delta_event(R"({"tool_calls":[{"index":0}]})"),
              delta_event(R"({"content":null})", "\"stop\""), kDone}),
      kChat);
  EXPECT_EQ(answer.name, "ok");
  EXPECT_THAT(answer.texts, ElementsAre(11, 12, 13));
}

struct Fault {
  std::string name;
  std::vector<std::string> pieces;
  std::string detail;
};

TEST(AnswerTest, EveryFaultOfAStreamHasItsName) {
  const std::string a = text_event("a");
  const std::string end = text_event("b", "\"stop\"");
  const auto with = [](const std::string& members) {
    return fmt::format("data: {{{},\"choices\":[{{\"text\":\"x\"}}]}}\n\n", members);
  };
  const std::vector<Fault> faults{
      {"cut", {}, "without finish_reason and [DONE]"},
      {"cut", {a}, "without finish_reason and [DONE]"},
      {"no-done", {a, end}, "ended without [DONE]"},
      {"empty", {text_event("", "\"stop\""), kDone}, "no event with text"},
      {"empty", {kDone}, "no event with text"},
      {"bad-json", {a, "data: {\"choices\":\n\n", kDone}, "{\"choices\":"},
      {"bad-json", {a, "data: \xff\n\n", kDone}, "\xff"},
      {"bad-json", {a, "data: {\"x\": NaN}\n\n", kDone}, "NaN"},
      {"bad-event", {a, "data: 3\n\n", kDone}, "3"},
      {"bad-event", {a, "data: {}\n\n", kDone}, "{}"},
      {"bad-event", {a, "data: {\"choices\":[3]}\n\n", kDone}, "[3]"},
      {"bad-event", {a, "data: {\"choices\":[{\"text\":3}]}\n\n", kDone}, "3"},
      {"bad-event", {a, delta_event("{\"content\":\"chat\"}"), kDone}, "chat"},
      {"bad-event", {"data: {\"choices\":[{\"text\":\"\"},{\"text\":\"\"}]}\n\n"}, "},{"},
      {"server-error", {a, "data: {\"error\":{\"message\":\"dead\"}}\n\n", kDone}, "dead"},
      {"server-error", {a, "data: {\"error\":\"dead\"}\n\n", kDone}, "dead"},
      {"aborted", {a, text_event("b", "\"abort\""), kDone}, "finish_reason \"abort\""},
      {"wrong-model", {a, with("\"model\":\"n\"")}, "asked m, answered by \"n\""},
      {"wrong-model", {a, with("\"model\":7")}, "asked m, answered by 7"},
      {"wrong-id", {a, with("\"id\":\"c2\"")}, "events of \"c1\" and of \"c2\""},
      {"bad-usage", {a, end, usage_event("{\"completion_tokens\":-1}"), kDone}, "-1"},
      {"bad-usage", {a, end, usage_event("{\"completion_tokens\":1.5}"), kDone}, "1.5"},
      {"bad-usage", {a, end, usage_event("7"), kDone}, "7"},
      {"bad-usage",
       {a, end, usage_event("{\"completion_tokens\":9}"), kDone},
       "9 tokens counted, 8 asked for, 2 events with text"},
      {"bad-usage", {a, end, usage_event("{\"completion_tokens\":0}"), kDone}, "0 tokens counted"},
  };
  for (const Fault& fault : faults) {
    const Answer answer = read_answer(stream(fault.pieces), kCompletion);
    EXPECT_EQ(answer.name, fault.name) << testing::PrintToString(fault.pieces);
    EXPECT_THAT(answer.detail, HasSubstr(fault.detail));
    EXPECT_EQ(answer.usable(), fault.name == "no-done");
  }
}

TEST(AnswerTest, EveryFaultOfTheConnectionHasItsName) {
  const auto name_of = [](HttpEnd end, long status, const std::string& done = "") {
    HttpAnswer raw = stream({text_event("a", "\"stop\""), done});
    raw.end = end;
    raw.status = status;
    return read_answer(raw, kCompletion).name;
  };
  EXPECT_EQ(name_of(HttpEnd::kUnreachable, 0), "unreachable");
  EXPECT_EQ(name_of(HttpEnd::kInsecure, 0), "insecure");
  EXPECT_EQ(name_of(HttpEnd::kMalformed, 0), "bad-http");
  EXPECT_EQ(name_of(HttpEnd::kTooLarge, 200), "too-large");
  EXPECT_EQ(name_of(HttpEnd::kCut, 0), "cut");
  EXPECT_EQ(name_of(HttpEnd::kCut, 200), "cut") << "although its finish_reason came";
  EXPECT_EQ(name_of(HttpEnd::kTimedOut, 0), "timed-out");
  EXPECT_EQ(name_of(HttpEnd::kTimedOut, 200), "timed-out");
  EXPECT_EQ(name_of(HttpEnd::kTimedOut, 200, kDone), "not-closed");
  EXPECT_EQ(name_of(HttpEnd::kWhole, 500), "http-500");
  EXPECT_EQ(name_of(HttpEnd::kCut, 503), "http-503");
  EXPECT_EQ(name_of(HttpEnd::kWhole, 204), "http-204");
  EXPECT_EQ(name_of(HttpEnd::kWhole, 200, kDone), "ok");
}

TEST(AnswerTest, AnErrorsBodyIsQuoted) {
  HttpAnswer raw = stream({R"({"error":{"message":"slow down","code":429}})"});
  raw.status = 429;
  raw.retry_after_s = 3;
  EXPECT_EQ(read_answer(raw, kChat).detail, "slow down; retry after 3 s");
  EXPECT_EQ(error_text("<html>nginx</html>"), "<html>nginx</html>");
  EXPECT_EQ(error_text(R"({"message":"gone"})"), "gone");
  EXPECT_EQ(error_text("{\"error\":" + std::string(1000, '[') + std::string(1000, ']') + "}"),
            "array");
  EXPECT_EQ(error_text(std::string(1000, 'x')).size(), 163U) << "an excerpt";
}

TEST(AnswerTest, AWholeAnswerAtOnceIsNoStream) {
  HttpAnswer raw = stream({R"({"choices":[{"text":"all"}]})"});
  raw.content_type = "application/json";
  const Answer answer = read_answer(raw, kCompletion);
  EXPECT_EQ(answer.name, "not-events");
  EXPECT_THAT(answer.detail, HasSubstr("application/json: {\"choices\""));
}

}  // namespace
}  // namespace mg
