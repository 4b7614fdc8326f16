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

/// A model's log-probabilities on the server beside our own engine's, each token after the same
/// ones: the prompt and what the server wrote before it.
struct ServerLogprobs {
  std::int64_t top = 0;      // most likely tokens asked for at each place
  std::int64_t prompts = 0;  // asked
  std::int64_t failed = 0;   // of them without an answer that can be compared
  std::string first_failure;
  std::int64_t positions =
      0;                      // tokens that the server wrote and whose log-probability was compared
  std::int64_t left_out = 0;  // tokens that were not: their id, or that of one before, is not known
  std::int64_t unknown = 0;   // tokens, written or listed, whose id is not known
  std::string first_unknown;
  std::int64_t unusable = 0;  // log-probabilities that are none: null, above 0, -9999
  std::string first_unusable;
  std::int64_t short_lists = 0;        // places with fewer than `top` tokens listed
  std::int64_t engine_non_finite = 0;  // places where our engine's logits are not finite
  std::optional<double> mean;          // |difference| of the written tokens', nat
  std::optional<Interval> ci95;        // by prompt
  std::optional<Interval> ci90;        // what was held against the limit
  std::optional<double> max;           // the largest of them
  std::optional<Place> worst;          // where: the token's id, its place in the answer
  std::string worst_text;              // the token as the server named it
  std::optional<double> worst_server;  // its log-probability there, nat
  std::optional<double> worst_engine;  // and in our engine
  std::optional<double> top1;          // share of places where both hold the same token likeliest
  std::optional<double> top_share;     // share of the server's listed tokens in the engine's top
  std::optional<double> top_mean;      // |difference| of the listed tokens', nat
  std::optional<double> floor;         // the mean between the engine in exact and in the
                                       // server's arithmetic, nat
  std::string floor_arithmetic;        // "fp16", "bf16"
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
  std::optional<ServerLogprobs> logprobs = std::nullopt;  // where they were asked for
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
