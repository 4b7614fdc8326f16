// The connection, against a server that misbehaves.  Time is the test's own: it passes a little
// with every look at the clock, and much once the server has fallen silent for good.
#include "harness/client/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "harness/client/answer.h"
#include "harness/client/openai.h"
#include "kernels/core/error.h"
#include "tests/client/test_server.h"

namespace mg {
namespace {

using test::Received;
using test::TestServer;
using test::Wire;
using testing::HasSubstr;

HttpOptions options_for(const TestServer& server) {
  HttpOptions options;
  options.direct = true;
  options.body_limit = 1 << 20U;
  options.clock = [&server, now = 0.0]() mutable {
    return now += server.hanging() > 0 ? 50 : 0.001;
  };
  return options;
}

HttpRequest request_to(const TestServer& server, bool chat = false,
                       const std::string& model = "m") {
  const ServerPrompt prompt{
      .id = "p",
      .chat = chat,
      .content = chat ? R"("messages":[{"role":"user","content":"hi"}])" : R"("prompt":"hi")"};
  return completion_request(server.url() + "/v1", model, prompt, {.max_tokens = 4});
}

Answer ask(const std::string& fault, bool chat) {
  const TestServer server(test::stand_in({{"m", {.fault = fault}}}));
  HttpClient client(options_for(server));
  const HttpRequest request = request_to(server, chat);
  return read_answer(client.send(std::span(&request, 1)).front(),
                     {.model = "m", .chat = chat, .max_tokens = 4});
}

TEST(HttpTest, EveryMisbehaviourHasItsOutcome) {
  const std::map<std::string, std::string> expected{
      {"", "ok"},
      {"odd-borders", "ok"},
      {"empty-deltas", "ok"},
      {"no-usage", "ok"},
      {"no-names", "ok"},
      {"no-done", "no-done"},
      {"slow-first-token", "timed-out"},
      {"hang", "timed-out"},
      {"hang-in-the-middle", "timed-out"},
      {"not-closed", "not-closed"},
      {"too-large", "too-large"},
      {"only-empty-deltas", "empty"},
      {"http-500", "http-500"},
      {"http-429", "http-429"},
      {"http-301", "http-301"},
      {"not-events", "not-events"},
      {"reset", "cut"},
      {"no-answer", "cut"},
      {"not-http", "bad-http"},
      {"wrong-length", "cut"},
      {"empty-body", "cut"},
      {"cut", "cut"},
      {"cut-cleanly", "cut"},
      {"bad-chunk", "cut"},
      {"bad-json", "bad-json"},
      {"bad-event", "bad-event"},
      {"server-error", "server-error"},
      {"nested", "server-error"},
      {"wrong-id", "wrong-id"},
      {"wrong-model", "wrong-model"},
      {"aborted", "aborted"},
      {"bad-usage", "bad-usage"},
  };
  for (const std::string& fault : test::stand_in_faults()) {
    ASSERT_TRUE(expected.contains(fault)) << fault;
  }
  for (const auto& [fault, outcome] : expected) {
    for (const bool chat : {false, true}) {
      const Answer answer = ask(fault, chat);
      EXPECT_EQ(answer.name, outcome) << fault << (chat ? " in a chat: " : ": ") << answer.detail;
      if (!answer.usable()) {
        continue;
      }
      EXPECT_EQ(answer.texts.size(), 4U) << fault;
      EXPECT_TRUE(std::is_sorted(answer.texts.begin(), answer.texts.end()));
      EXPECT_GT(answer.texts.front(), answer.sent);
      EXPECT_EQ(answer.tokens.has_value(), fault != "no-usage");
      EXPECT_EQ(answer.names_model, fault != "no-names");
    }
  }
}

TEST(HttpTest, ARequestIsWhatTheServersTake) {
  const TestServer server(test::stand_in({{"m", {}}}));
  HttpOptions options = options_for(server);
  options.api_key = "secret-key";
  HttpClient client(options);
  const HttpRequest requests[] = {request_to(server, false), request_to(server, true)};
  client.send(requests);
  const std::vector<Received> received = server.received();
  ASSERT_EQ(received.size(), 2U);
  EXPECT_EQ(received[0].method, "POST");
  EXPECT_EQ(received[0].path, "/v1/completions");
  EXPECT_EQ(received[0].headers.at("content-type"), "application/json");
  EXPECT_EQ(received[0].headers.at("accept"), "text/event-stream");
  EXPECT_EQ(received[0].headers.at("authorization"), "Bearer secret-key");
  EXPECT_EQ(received[0].body,
            R"({"model":"m","max_tokens":4,"temperature":0,"stream":true,)"
            R"("stream_options":{"include_usage":true},"ignore_eos":true,"prompt":"hi"})");
  EXPECT_EQ(received[1].path, "/v1/chat/completions");
  EXPECT_EQ(nlohmann::json::parse(received[1].body)["messages"][0]["content"], "hi");
  EXPECT_EQ(received[1].connection, 1) << "the connection is kept";
}

TEST(HttpTest, NoMoreAtOnceThanAskedAndConnectionsAreKept) {
  std::mutex mutex;
  int now = 0;
  int most = 0;
  const test::Respond answer = test::stand_in({{"m", {}}});
  const TestServer server([&](const Received& request, Wire& wire) {
    {
      const std::lock_guard lock(mutex);
      most = std::max(most, ++now);
    }
    answer(request, wire);
    const std::lock_guard lock(mutex);
    --now;
  });
  HttpOptions options = options_for(server);
  options.at_once = 3;
  HttpClient client(options);
  const std::vector<HttpRequest> requests(20, request_to(server));
  for (const HttpAnswer& raw : client.send(requests)) {
    EXPECT_EQ(read_answer(raw, {.model = "m", .chat = false, .max_tokens = 4}).name, "ok");
  }
  client.send(requests);
  EXPECT_LE(most, 4) << "3, and one whose answer is out while its handler still ends";
  std::set<int> connections;
  for (const Received& request : server.received()) {
    connections.insert(request.connection);
  }
  EXPECT_LE(connections.size(), 3U);
}

TEST(HttpTest, ARateIsKept) {
  const TestServer server(test::stand_in({{"m", {}}}));
  HttpOptions options = options_for(server);
  options.at_once = 2;
  options.rate = 50;  // a second is a thousand looks at the clock
  HttpClient client(options);
  const std::vector<HttpRequest> requests(5, request_to(server));
  const std::vector<HttpAnswer> answers = client.send(requests);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    EXPECT_NEAR(answers[i].due - answers[0].due, static_cast<double>(i) / 50, 1e-9);
    EXPECT_GE(answers[i].sent, answers[i].due);
  }
}

TEST(HttpTest, RetryAfterIsHeard) {
  const test::Respond refuse = test::stand_in({{"m", {.fault = "http-429"}}});
  const test::Respond answer = test::stand_in({{"m", {}}});
  bool first = true;
  const TestServer server([&](const Received& request, Wire& wire) {
    (first ? refuse : answer)(request, wire);
    first = false;
  });
  HttpOptions options = options_for(server);
  options.clock = [now = 0.0]() mutable { return now += 1; };
  options.timeout_s = 1e6;
  HttpClient client(options);
  const std::vector<HttpRequest> requests(2, request_to(server));
  std::vector<HttpAnswer> answers = client.send(requests);
  EXPECT_EQ(answers[0].status, 429);
  EXPECT_EQ(answers[0].retry_after_s, 3);
  EXPECT_EQ(answers[1].status, 200) << "it is not sent again, the next one is";
  EXPECT_GE(answers[1].sent, answers[0].ended + 3);
}

TEST(HttpTest, WhatIsTooLargeIsNotKept) {
  const TestServer server(test::stand_in({{"m", {.fault = "too-large"}}}));
  HttpClient client(options_for(server));
  const HttpRequest request = request_to(server);
  EXPECT_LE(client.send(std::span(&request, 1)).front().body.size(), std::size_t{1} << 20U);
}

TEST(HttpTest, NobodyThereIsUnreachable) {
  std::string url;
  {
    const TestServer gone(test::stand_in({}));
    url = gone.url();
  }
  const TestServer server(test::stand_in({}));  // for the clock
  HttpClient client(options_for(server));
  const HttpRequest request{.url = url + "/v1/completions", .body = "{}", .events = true};
  EXPECT_EQ(client.send(std::span(&request, 1)).front().end, HttpEnd::kUnreachable);
}

TEST(HttpTest, AServerWithoutTlsIsInsecureBehindHttps) {
  const TestServer server(test::stand_in({{"m", {}}}));
  HttpClient client(options_for(server));
  HttpRequest request = request_to(server);
  request.url.replace(0, 4, "https");
  EXPECT_EQ(client.send(std::span(&request, 1)).front().end, HttpEnd::kInsecure);
}

Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error({});
}

TEST(ServerUrlTest, TheRootIsFound) {
  EXPECT_EQ(parse_server_url("http://127.0.0.1:8000").base, "http://127.0.0.1:8000/v1");
  EXPECT_EQ(parse_server_url("http://localhost:8000/v1/").base, "http://localhost:8000/v1");
  EXPECT_EQ(parse_server_url("https://a.example/api").base, "https://a.example/api/v1");
  EXPECT_TRUE(parse_server_url("http://[::1]:80").loopback);
  EXPECT_TRUE(parse_server_url("http://127.0.0.1").loopback);
  EXPECT_FALSE(parse_server_url("https://a.example").loopback);
  EXPECT_TRUE(parse_server_url("https://a.example").encrypted);
}

TEST(ServerUrlTest, WhatCannotBeUsedIsRefused) {
  for (const char* bad : {"", "127.0.0.1:8000", "ftp://a.example", "file:///etc/passwd", "http://",
                          "http://a.example/v1?key=1", "http://a.example/#x"}) {
    EXPECT_EQ(error_of([&] { parse_server_url(bad); }).parts().code, "server.url") << bad;
  }
  const Error secret = error_of([] { parse_server_url("http://me:hunter2@a.example"); });
  EXPECT_EQ(secret.kind(), ErrorKind::kUsage);
  EXPECT_EQ(std::string(secret.what()).find("hunter2"), std::string::npos);
  EXPECT_STREQ(secret.what(),
               "error[server.url]: the server's URL holds a user or a password\n"
               "  where:    --openai\n"
               "  expected: http://HOST:PORT or https://HOST:PORT, /v1 behind it if you like   "
               "actual: not shown\n"
               "  hint:     give the key in MERGEGAUGE_API_KEY: the report keeps the URL");
}

TEST(ApiKeyTest, AKeyThatNoHeaderHoldsIsRefusedUnshown) {
  HttpOptions options;
  options.api_key = "secret\r\nX-Evil: 1";
  const Error error = error_of([&] { HttpClient client(options); });
  EXPECT_EQ(error.parts().code, "server.key");
  EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
}

TEST(CheckServerTest, SaysWhatIsWrongBeforeAnythingIsMeasured) {
  const TestServer server(test::stand_in({{"base", {}}, {"tuned", {}}}));
  HttpClient client(options_for(server));
  const std::string url = server.url() + "/v1";
  EXPECT_NO_THROW(check_server(client, url, {"base", "tuned"}, ""));
  const Error missing = error_of([&] { check_server(client, url, {"merged"}, ""); });
  EXPECT_EQ(missing.parts().code, "server.no-model");
  EXPECT_EQ(missing.parts().expected, "one of base, tuned");

  const TestServer closed([](const Received& request, Wire& wire) {
    const std::string body = "{\"error\":\"bad key " + request.headers.at("authorization") + "\"}";
    wire.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n" + body);
  });
  HttpOptions options = options_for(closed);
  options.api_key = "hunter2";
  HttpClient with_key(options);
  const Error refused =
      error_of([&] { check_server(with_key, closed.url() + "/v1", {"m"}, "hunter2"); });
  EXPECT_EQ(refused.parts().code, "server.unauthorised");
  EXPECT_EQ(refused.parts().actual, "a key, bad key Bearer ***");

  const TestServer without_list([](const Received&, Wire& wire) {
    wire.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  });
  HttpClient other(options_for(without_list));
  EXPECT_NO_THROW(check_server(other, without_list.url() + "/v1", {"m"}, ""));
}

}  // namespace
}  // namespace mg
