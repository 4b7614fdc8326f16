// The judgement of one gate, with everything needed to believe it.  Made by harness/verdict.
// Not for: the judgement of the whole run (status.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "harness/result/metric.h"

namespace mg {

enum class GateStatus {
  kPass,  // the interval (or its upper bound) lies inside the limit
  kFail,  // the interval lies outside the limit, the metric is missing, or something was not finite
  kInconclusive,  // the sample cannot decide; `needs_prompts` says what would
  kInvalid,       // a guard fired: the number would mean nothing
  kNotRun,        // the input of the gate is absent
};

struct Verdict {
  std::string gate;     // "kl.mean"
  std::string subject;  // the pair of lanes, "adapter/merged"; empty where there is only one
  GateStatus status = GateStatus::kNotRun;
  bool blocking = true;  // an advisory gate is shown and never lowers the status of the run
  std::string unit;      // "nat", "nat/token", "share", "ratio"
  std::optional<double> value;
  std::optional<double> limit;        // upper limit, or the half-width of a two-sided one
  std::optional<double> lower_limit;  // set for gates with a range (slope)
  std::optional<Interval> ci95;
  std::optional<Interval> ci90;  // what was held against the limit: one-sided 95 % bounds
  std::optional<double> floor;   // the arithmetic's own noise in the same metric
  std::optional<double> power;   // chance to pass at this sample if there were no true difference
  std::optional<double> smallest_margin;      // the smallest limit that this sample would pass
  std::optional<std::int64_t> needs_prompts;  // set where more prompts could decide
  std::string basis;                          // where the limit comes from: "max(10 x floor, 1e-4)"
  std::string reason;                         // one sentence: why this status
};

/// "pass", "fail", "inconclusive", "invalid", "not_run".
std::string_view gate_status_name(GateStatus status);
std::optional<GateStatus> gate_status_from_name(std::string_view name);

/// Noise of the arithmetic, measured in the same run: the yardstick of every gate.
struct Floor {
  std::optional<double> kl_mean;  // nat
  std::optional<Interval> kl_mean_ci95;
  std::optional<double> kl_p99;       // nat; null where the sample is too small for a p99
  std::optional<double> flip_margin;  // logit gap within which a changed top-1 is a near tie
  std::int64_t prompts = 0;
  std::int64_t tokens = 0;
  std::string basis;  // "adapter lane, exact against fp16 arithmetic, 8 prompts"
};

}  // namespace mg
