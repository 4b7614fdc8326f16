// A running server asked for the merged and the adapter model by turns, in paired rounds, and what
// the answers say of their speed.  Not for: our own engine (harness/bench), the requests (openai.h)
// or the connection (http.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/client/answer.h"
#include "harness/client/openai.h"
#include "harness/result/bench.h"
#include "harness/result/finding.h"
#include "harness/result/verdict.h"

namespace mg {

/// A model under its name on the server.
struct ServerModel {
  std::string lane;  // "adapter", "merged"
  std::string model;
};

struct ServerBenchOptions {
  ServerUrl url;
  std::vector<ServerModel> models;  // the reference first
  std::vector<ServerPrompt> prompts;
  CompletionSettings completion;
  std::int64_t requests = 16;  // of a turn
  std::int64_t rounds = 12;    // after one that is dropped
  std::int64_t concurrency = 8;
  std::optional<double> rate;
  double margin = 0.05;
  double error_limit = 0;  // share of requests that may go without a whole answer
  BootstrapPlan bootstrap;
  BenchClock clock;  // empty: the wall's
  std::string key;   // taken out of what is quoted
};

/// Sends requests and waits for all; HttpClient::send, or a test's own.
using SendRequests = std::function<std::vector<HttpAnswer>(std::span<const HttpRequest> requests)>;

struct ServerRun {
  BenchResult result;
  std::vector<Verdict> verdicts;
  std::vector<Finding> findings;
};

/// A turn is `requests` prompts for one model; both halves of a round take other prompts, the same
/// ones for every model.  A round in which a request failed gives no ratio, since it was another
/// load.  Ends early where a model gives no whole answer in a round.
ServerRun run_server_bench(const ServerBenchOptions& options, const SendRequests& send,
                           const std::function<void(double)>& progress);

/// Percentiles of what is there; sorts `seconds`.
LatencySummary summarise_latency(std::vector<double>& seconds);

}  // namespace mg
