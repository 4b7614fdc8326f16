#include "harness/result/status.h"

#include <algorithm>

namespace mg {
namespace {

bool any_blocking(std::span<const Verdict> verdicts, GateStatus status) {
  return std::any_of(verdicts.begin(), verdicts.end(), [status](const Verdict& verdict) {
    return verdict.blocking && verdict.status == status;
  });
}

bool any_error(std::span<const Finding> findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.severity == Severity::kError; });
}

}  // namespace

RunStatus decide_status(const StatusInputs& inputs) {
  if (inputs.internal_error) {
    return RunStatus::kInternalError;
  }
  if (inputs.input_error) {
    return RunStatus::kInputError;
  }
  if (any_error(inputs.findings) || any_blocking(inputs.verdicts, GateStatus::kFail)) {
    return RunStatus::kFail;
  }
  if (any_blocking(inputs.verdicts, GateStatus::kInvalid)) {
    return RunStatus::kInvalid;
  }
  if (inputs.not_checked || any_blocking(inputs.verdicts, GateStatus::kInconclusive) ||
      any_blocking(inputs.verdicts, GateStatus::kNotRun)) {
    return RunStatus::kInconclusive;
  }
  return RunStatus::kPass;
}

int exit_code(RunStatus status) {
  switch (status) {
    case RunStatus::kPass:
      return 0;
    case RunStatus::kFail:
      return 1;
    case RunStatus::kInputError:
      return 2;
    case RunStatus::kInconclusive:
    case RunStatus::kInvalid:
      return 3;
    case RunStatus::kInternalError:
      return 4;
  }
  return 4;
}

std::string_view run_status_name(RunStatus status) {
  switch (status) {
    case RunStatus::kPass:
      return "pass";
    case RunStatus::kFail:
      return "fail";
    case RunStatus::kInconclusive:
      return "inconclusive";
    case RunStatus::kInvalid:
      return "invalid";
    case RunStatus::kInputError:
    case RunStatus::kInternalError:
      return "error";
  }
  return "error";
}

std::optional<RunStatus> run_status_from(std::string_view name, int code) {
  for (const RunStatus status :
       {RunStatus::kPass, RunStatus::kFail, RunStatus::kInputError, RunStatus::kInconclusive,
        RunStatus::kInvalid, RunStatus::kInternalError}) {
    if (run_status_name(status) == name && exit_code(status) == code) {
      return status;
    }
  }
  return std::nullopt;
}

}  // namespace mg
