// What was measured of a running server that serves the merged and the adapter model
// (harness/client).  Filled by harness/client, written by reports/.  Not for: our own engine's
// throughput (bench.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/result/metric.h"

namespace mg {

/// Seconds of one kind over all answers of a model.  A percentile is null where fewer than 10
/// values lie beyond it.
struct LatencySummary {
  std::int64_t count = 0;
  std::optional<double> p50;
  std::optional<double> p90;
  std::optional<double> p99;
  std::optional<double> max;
};

/// What became of requests, by name: "ok", "http-500", "cut", "bad-json", ...  (docs/bench.md lists
/// them).
struct ServerOutcome {
  std::string name;
  std::int64_t requests = 0;
  bool usable = false;  // the answer is whole: its times count
  std::string example;  // what the first of them said
};

struct ServerLane {
  std::string lane;                     // "merged", "adapter"
  std::string model;                    // its name on the server
  std::int64_t requests = 0;            // all that were sent, those of the warm-up too
  std::vector<ServerOutcome> outcomes;  // most frequent first
  std::int64_t rounds = 0;              // in which every request of every model was answered
  std::optional<double> tokens_per_s;   // median over those rounds
  std::optional<Interval> ci95;         // tokens/s
  std::optional<double> prompt_tokens;  // mean of an answered request, as the server counts
  std::optional<double> tokens;         // the same of what it wrote
  std::string tokens_counted;           // "usage": by the server; "events": one an event
  LatencySummary first_token;           // from sending a request to its first text
  LatencySummary inter_token;           // between events with text
  LatencySummary whole;                 // from sending a request to the end of its text
};

struct ServerResult {
  std::string url;
  std::string endpoint;  // "completions", "chat/completions", or both
  std::int64_t concurrency = 1;
  std::optional<double> rate;  // requests sent per second; null: as soon as there is room
  std::int64_t max_tokens = 0;
  std::int64_t requests = 0;       // in a turn
  std::int64_t rounds = 0;         // asked for, after one that is dropped
  std::optional<double> latest_s;  // a rate was kept but for this many seconds
  std::vector<ServerLane> lanes;
};

}  // namespace mg
