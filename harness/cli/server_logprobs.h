// `mergegauge bench --openai URL --logprobs K`: what a server gives for the tokens it writes,
// beside what our own engine gives for the same tokens after the same ones, from the models'
// folders.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/client/server_bench.h"
#include "harness/result/report.h"
#include "harness/run/compare.h"
#include "harness/run/prompt_sources.h"
#include "suites/suite.h"

namespace mg {

struct LogprobSetup {
  std::string url;
  std::vector<ServerModel> models;  // lane "merged" has its folder, "adapter" base and adapter
  PromptFolders folders;
  EngineOptions engine;
  std::int64_t top = 0;  // likeliest tokens
  std::int64_t max_tokens = 0;
  int threads = 0;
  std::string key;  // taken out of what is quoted
};

class LogprobRun {
 public:
  /// Opens the folders and turns the suites into ids, texts and chats too: ids are what is sent, so
  /// that server and engine begin with the same tokens.  Adds what the tokenizers disagree in, and
  /// prompts that were left out, to the report.  Throws what opening and tokenising throw, and
  /// Error "server.no-prompts" where none has room for an answer.
  LogprobRun(LogprobSetup setup, std::vector<Suite> suites, Report& report);
  ~LogprobRun();

  /// One token of each model, before minutes are spent: throws Error "server.no-logprobs" where its
  /// log-probability does not come.
  void require(const SendRequests& send) const;

  /// Asks for every prompt once, runs the answers through our engine, and fills
  /// ServerLane::logprobs and the report's gates and findings.
  void compare(const SendRequests& send, ServerResult& server, Report& report,
               const std::function<void(double)>& progress);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mg
