// The first screen of every view: the verdict, the reason in a sentence or two, the numbers that
// matter.  Derived from the report alone, so that all formats say the same.  Not for: deciding
// anything (harness/verdict, harness/result). Tested in tests/reports/headline_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/result/report.h"

namespace mg {

struct KeyNumber {
  std::string label;   // "KL divergence, mean"
  std::string value;   // "2.6e-6 nat"
  std::string detail;  // "95 % interval [2.1e-6, 3.2e-6], limit 1.1e-4, noise 1.1e-5"
  GateStatus status = GateStatus::kNotRun;  // of the gate on it; kNotRun where there is none
};

struct Headline {
  std::string verdict;             // "PASS", "FAIL", "ERROR", "INCONCLUSIVE", "INVALID"
  std::string title;               // what it means for the user, one sentence
  std::string reason;              // why, one to three sentences
  std::vector<KeyNumber> numbers;  // at most three, the failing ones first
};

Headline headline(const Report& report);

/// The comparison the verdict is about: base + adapter against merged, else the first; null where
/// there is none.
const Comparison* main_comparison(const Report& report);

/// The verdict of this gate on this comparison, or null.
const Verdict* find_verdict(const Report& report, std::string_view gate,
                            const Comparison& comparison);

/// Whether this is about what is to be served in merged's place, not about merged.
bool is_served(const Verdict& verdict);
bool is_served(const Finding& finding);

/// The pair of merged and what is to be served, or null where it was not run.
const Comparison* served_comparison(const Report& report, const AlsoModel& model);

/// What is to be served, in a line: what it stores, how far it is from merged.
struct ServedLine {
  std::string lane;
  std::string stored;   // "GGUF 3, 91 MB, 5 bits a weight: Q4_1 71 MB, Q8_0 30 MB"
  std::string numbers;  // "KL 4.1e-6 nat, 95 % interval [...], ..."
  GateStatus status = GateStatus::kNotRun;  // the worst of its blocking gates
};
ServedLine served_line(const Report& report, const AlsoModel& model);

struct SeverityCounts {
  std::int64_t errors = 0;
  std::int64_t warnings = 0;
  std::int64_t notes = 0;
};
SeverityCounts count_findings(const Report& report);

struct GateCounts {
  std::int64_t pass = 0;
  std::int64_t fail = 0;
  std::int64_t inconclusive = 0;
  std::int64_t invalid = 0;
  std::int64_t not_run = 0;
  std::int64_t advisory = 0;  // of all of the above
  std::int64_t all() const { return pass + fail + inconclusive + invalid + not_run; }
};
GateCounts count_gates(const Report& report);

/// "Gates: 15 passed, 1 failed, ... Findings: 1 error, ...": the same text in every format.
std::string counts_text(const Report& report);

/// Gates in the order worth reading: failing and undecided blocking ones first, then advisory ones
/// that did not pass, then those that passed, then those that did not run; otherwise in the
/// report's order.
std::vector<const Verdict*> gates_by_importance(const Report& report);

/// Findings: errors, warnings, notes; otherwise in the report's order.
std::vector<const Finding*> findings_by_severity(const Report& report);

/// "caught", "MISSED", "not planted": what an outcome of a selftest is called in a table.
std::string_view detection_word(DetectionOutcome outcome);

/// "11 of 12 planted faults were caught" of a selftest.
std::string detections_text(const SelftestResult& selftest);

/// "audit.scale, weights.targets", or "-".
std::string ids_text(const std::vector<std::string>& ids);

/// "pass", "FAIL", "undecided", "invalid", "not run": what a status is called beside a gate.
std::string_view gate_status_word(GateStatus status);

/// The interval that was held against a gate's limit, and its level: 90 % for most (its ends are
/// the one-sided 95 % bounds).  Nothing where the gate has none.
struct GateInterval {
  std::optional<Interval> interval;
  int percent = 95;
};
GateInterval gate_interval(const Verdict& verdict);

/// "limit 1.1e-4", "within [0.98, 1.02]", "" without a limit.
std::string limit_text(const Verdict& verdict);

/// "language layer 12, attention".
std::string place_text(const LayerPlace& place);

/// "prompt smoke-07, position 17".
std::string place_text(const Place& place);

/// "24 prompts, 3,072 tokens" of the suites, or empty.
std::string size_text(const Report& report);

}  // namespace mg
