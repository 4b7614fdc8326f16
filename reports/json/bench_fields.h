// The JSON keys of what was measured of speed, as fields.h lists those of the rest of a report.
// Private to reports/json.
#pragma once

#include "harness/result/bench.h"
#include "reports/json/record.h"

namespace mg::report_json {

template <typename Archive, Is<BenchRate> Record>
void fields(Archive& ar, Record& rate) {
  ar.required("phase", rate.phase);
  ar.required("lane", rate.lane);
  ar.required("length", rate.length);
  ar.required("batch", rate.batch);
  ar.required("tokens_per_s", rate.tokens_per_s);
  ar.optional("ci95", rate.ci95);
  ar.optional("rounds", rate.rounds);
  ar.optional("flops", rate.flops);
  ar.optional("bytes", rate.bytes);
  ar.optional("of_flops", rate.of_flops);
  ar.optional("of_memory", rate.of_memory);
}

template <typename Archive, Is<BenchRatio> Record>
void fields(Archive& ar, Record& ratio) {
  ar.required("phase", ratio.phase);
  ar.required("reference", ratio.reference);
  ar.required("subject", ratio.subject);
  ar.required("length", ratio.length);
  ar.required("batch", ratio.batch);
  ar.required("value", ratio.value);
  ar.optional("ci95", ratio.ci95);
  ar.optional("ci90", ratio.ci90);
  ar.optional("decision", ratio.decision);
}

template <typename Archive, Is<BenchMemory> Record>
void fields(Archive& ar, Record& memory) {
  ar.required("lane", memory.lane);
  ar.required("weight_bytes", memory.weight_bytes);
  ar.required("peak_bytes", memory.peak_bytes);
  ar.optional("cache_bytes", memory.cache_bytes);
  ar.optional("load_s", memory.load_s);
  ar.optional("first_token_s", memory.first_token_s);
  ar.optional("first_token_length", memory.first_token_length);
  ar.optional("decoded_bytes", memory.decoded_bytes);
}

template <typename Archive, Is<LatencySummary> Record>
void fields(Archive& ar, Record& latency) {
  ar.required("count", latency.count);
  ar.required("p50", latency.p50);
  ar.optional("p90", latency.p90);
  ar.optional("p99", latency.p99);
  ar.optional("max", latency.max);
}

template <typename Archive, Is<ServerOutcome> Record>
void fields(Archive& ar, Record& outcome) {
  ar.required("name", outcome.name);
  ar.required("requests", outcome.requests);
  ar.required("usable", outcome.usable);
  ar.optional("example", outcome.example);
}

template <typename Archive, Is<ServerLogprobs> Record>
void fields(Archive& ar, Record& logprobs) {
  ar.required("top", logprobs.top);
  ar.required("prompts", logprobs.prompts);
  ar.required("failed", logprobs.failed);
  ar.optional("first_failure", logprobs.first_failure);
  ar.required("positions", logprobs.positions);
  ar.optional("left_out", logprobs.left_out);
  ar.optional("unknown", logprobs.unknown);
  ar.optional("first_unknown", logprobs.first_unknown);
  ar.optional("unusable", logprobs.unusable);
  ar.optional("first_unusable", logprobs.first_unusable);
  ar.optional("short_lists", logprobs.short_lists);
  ar.optional("engine_non_finite", logprobs.engine_non_finite);
  ar.required("mean", logprobs.mean);
  ar.optional("ci95", logprobs.ci95);
  ar.optional("ci90", logprobs.ci90);
  ar.required("max", logprobs.max);
  ar.optional("worst", logprobs.worst);
  ar.optional("worst_text", logprobs.worst_text);
  ar.optional("worst_server", logprobs.worst_server);
  ar.optional("worst_engine", logprobs.worst_engine);
  ar.required("top1", logprobs.top1);
  ar.required("top_share", logprobs.top_share);
  ar.optional("top_mean", logprobs.top_mean);
  ar.optional("floor", logprobs.floor);
  ar.optional("floor_arithmetic", logprobs.floor_arithmetic);
}

template <typename Archive, Is<ServerLane> Record>
void fields(Archive& ar, Record& lane) {
  ar.required("lane", lane.lane);
  ar.required("model", lane.model);
  ar.required("requests", lane.requests);
  ar.required("outcomes", lane.outcomes);
  ar.required("rounds", lane.rounds);
  ar.required("tokens_per_s", lane.tokens_per_s);
  ar.optional("ci95", lane.ci95);
  ar.optional("prompt_tokens", lane.prompt_tokens);
  ar.optional("tokens", lane.tokens);
  ar.optional("tokens_counted", lane.tokens_counted);
  ar.required("first_token", lane.first_token);
  ar.required("inter_token", lane.inter_token);
  ar.required("whole", lane.whole);
  ar.optional("logprobs", lane.logprobs);
}

template <typename Archive, Is<ServerResult> Record>
void fields(Archive& ar, Record& server) {
  ar.required("url", server.url);
  ar.required("endpoint", server.endpoint);
  ar.required("concurrency", server.concurrency);
  ar.optional("rate", server.rate);
  ar.required("max_tokens", server.max_tokens);
  ar.required("requests", server.requests);
  ar.required("rounds", server.rounds);
  ar.optional("latest_s", server.latest_s);
  ar.required("lanes", server.lanes);
}

template <typename Archive, Is<BenchResult> Record>
void fields(Archive& ar, Record& bench) {
  ar.required("rates", bench.rates);
  ar.required("ratios", bench.ratios);
  ar.required("memory", bench.memory);
  ar.optional("peak_flops", bench.peak_flops);
  ar.optional("peak_bytes", bench.peak_bytes);
  ar.optional("margin", bench.margin);
  ar.optional("server", bench.server);
}

}  // namespace mg::report_json
