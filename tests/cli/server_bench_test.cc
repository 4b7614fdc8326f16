// mergegauge bench --openai, as a user runs it, against the tests' own server.  The margin is so
// wide that no verdict hangs on how fast this machine is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/cli/subprocess.h"
#include "tests/client/test_server.h"

namespace mg {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

RunResult bench_server(const std::string& url, std::vector<std::string> more) {
  std::vector<std::string> arguments{"bench", "--openai",     url, "--rounds", "5",   "--requests",
                                     "2",     "--max-tokens", "3", "--margin", "1000"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_mergegauge(arguments, {.environment = {{"MERGEGAUGE_API_KEY", "hunter2"}}});
}

TEST(BenchServerCommand, HoldsMergedAgainstTheAdapter) {
  const test::TestServer server(test::stand_in(
      {{"whole", {.seconds_a_token = 0.001}}, {"lora", {.seconds_a_token = 0.001}}}));
  const RunResult run =
      bench_server(server.url(), {"--model", "whole", "--adapter-model", "lora", "--suite",
                                  "language", "--suite", "chat", "--concurrency", "2"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out,
              StartsWith("PASS  On this server merged is not slower than base + adapter.\n"));
  EXPECT_THAT(run.out, HasSubstr("Server  " + server.url() +
                                 "/v1, chat/completions, completions, 2 requests at once"));
  EXPECT_THAT(run.out, HasSubstr("tokens/s, merged over base + adapter"));
  EXPECT_THAT(run.out, HasSubstr("24 of 24"));
  EXPECT_EQ(server.received().size(), 1U + 48U) << "the list of models, then 12 turns each of 2";
  EXPECT_EQ(server.received().back().headers.at("authorization"), "Bearer hunter2");
}

TEST(BenchServerCommand, FailuresAreCountedNamedAndInTheReport) {
  const test::TestServer server(test::stand_in({{"whole", {.fault = "http-500"}}, {"lora", {}}}));
  const RunResult run =
      bench_server(server.url(), {"--model", "whole", "--adapter-model", "lora", "--json", "-"});
  EXPECT_EQ(run.exit_code, 1) << run.err;
  EXPECT_THAT(run.out, Not(HasSubstr("hunter2")));
  const auto report = nlohmann::json::parse(run.out);
  const auto& merged = report["bench"]["server"]["lanes"][1];
  EXPECT_EQ(merged["lane"], "merged");
  EXPECT_EQ(merged["outcomes"].dump(),
            R"([{"example":"out of memory","name":"http-500","requests":4,"usable":false}])");
  EXPECT_TRUE(merged["tokens_per_s"].is_null());
  EXPECT_TRUE(merged["first_token"]["p50"].is_null());
  EXPECT_TRUE(report["bench"]["ratios"][0]["value"].is_null());
}

TEST(BenchServerCommand, ErrorsSayWhatToDo) {
  std::string gone;
  {
    const test::TestServer server(test::stand_in({}));
    gone = server.url();
  }
  const RunResult nobody = bench_server(gone, {"--model", "m"});
  EXPECT_EQ(nobody.exit_code, 2);
  EXPECT_THAT(nobody.out, HasSubstr("No server answers at this URL (" + gone + "/v1/models)."));
  EXPECT_THAT(nobody.out, HasSubstr("is it running, and on this port?"));

  const test::TestServer server(test::stand_in({{"base", {}}}));
  const RunResult other = bench_server(server.url(), {"--model", "merged"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.out, HasSubstr("The server has no model \"merged\""));
  EXPECT_THAT(other.out, HasSubstr("one of base"));

  const RunResult smoke = bench_server(server.url(), {"--model", "base", "--suite", "smoke"});
  EXPECT_EQ(smoke.exit_code, 2);
  EXPECT_THAT(smoke.out, HasSubstr("--base, the folder of the base model"));
}

TEST(BenchServerCommand, OptionsOfTheOtherKindAreRefused) {
  const auto usage = [](const std::vector<std::string>& arguments) {
    const RunResult run = run_mergegauge(arguments);
    EXPECT_EQ(run.exit_code, 2);
    EXPECT_THAT(run.out, IsEmpty());
    return run.err;
  };
  EXPECT_THAT(usage({"bench"}), HasSubstr("--base is required"));
  EXPECT_THAT(usage({"bench", "--openai", "http://127.0.0.1:1"}), HasSubstr("--model is required"));
  EXPECT_THAT(usage({"bench", "--openai", "http://127.0.0.1:1", "--model", "m", "--plant", "m=1"}),
              HasSubstr("--plant excludes --openai"));
  EXPECT_THAT(usage({"bench", "--openai", "http://127.0.0.1:1", "--model", "m", "--benchmark_x"}),
              HasSubstr("--benchmark_x"));
  EXPECT_THAT(usage({"bench", "--base", "b", "--model", "m"}),
              HasSubstr("--model requires --openai"));
  EXPECT_THAT(usage({"bench", "--openai", "http://me:pass@h", "--model", "m"}),
              Not(HasSubstr("pass@")));
}

}  // namespace
}  // namespace mg
