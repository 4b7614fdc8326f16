// From findings and verdicts to the one status and exit code of a run (DESIGN.md section 6).
// Not for: deciding a gate (harness/verdict).
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "harness/result/finding.h"
#include "harness/result/verdict.h"

namespace mg {

enum class RunStatus {
  kPass,           // exit 0
  kFail,           // exit 1: a blocking gate failed, or an error-level finding
  kInputError,     // exit 2: unusable input, unsupported format, usage
  kInconclusive,   // exit 3: a blocking gate could not decide, or something was not checked
  kInvalid,        // exit 3: a guard fired, so that a blocking gate's number would mean nothing
  kInternalError,  // exit 4: our own fault or the device's
};

struct StatusInputs {
  std::span<const Finding> findings;
  std::span<const Verdict> verdicts;
  bool input_error = false;     // an input error ended the run or a part of it
  bool internal_error = false;  // an internal or device error did
  bool not_checked = false;     // a tensor, a key or a prompt could not be judged
};

/// Where several apply: exit code 4 before 2 before 1 before 3 before 0; invalid before
/// inconclusive. A blocking gate that was not run counts as not checked; advisory gates never
/// count.
RunStatus decide_status(const StatusInputs& inputs);

/// 0..4.
int exit_code(RunStatus status);

/// "pass", "fail", "error", "inconclusive", "invalid", "error".
std::string_view run_status_name(RunStatus status);

/// The status of this name and exit code (both kinds of "error" have one name), or nothing when
/// they contradict each other.
std::optional<RunStatus> run_status_from(std::string_view name, int code);

}  // namespace mg
