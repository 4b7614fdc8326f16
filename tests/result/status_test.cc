#include "harness/result/status.h"

#include <gtest/gtest.h>

#include <vector>

#include "harness/result/report.h"

namespace mg {
namespace {

Verdict gate(GateStatus status, bool blocking = true) {
  Verdict verdict;
  verdict.gate = "kl.mean";
  verdict.status = status;
  verdict.blocking = blocking;
  return verdict;
}

Finding finding(Severity severity) {
  Finding result;
  result.rule = "config.leftover-quantization";
  result.severity = severity;
  return result;
}

// Every subset of the things a run can contain, against the sentence of DESIGN.md section 6:
// "4 before 2 before 1 before 3 before 0".
TEST(DecideStatus, FollowsThePrecedenceForEveryCombination) {
  for (unsigned bits = 0; bits < (1U << 12U); ++bits) {
    const auto has = [bits](unsigned bit) { return ((bits >> bit) & 1U) != 0U; };
    std::vector<Verdict> verdicts;
    std::vector<Finding> findings;
    if (has(0))
      verdicts.push_back(gate(GateStatus::kPass));
    if (has(1))
      verdicts.push_back(gate(GateStatus::kFail));
    if (has(2))
      verdicts.push_back(gate(GateStatus::kInconclusive));
    if (has(3))
      verdicts.push_back(gate(GateStatus::kInvalid));
    if (has(4))
      verdicts.push_back(gate(GateStatus::kNotRun));
    if (has(5))
      verdicts.push_back(gate(GateStatus::kFail, false));
    if (has(6)) {
      verdicts.push_back(gate(GateStatus::kInvalid, false));
      verdicts.push_back(gate(GateStatus::kInconclusive, false));
      verdicts.push_back(gate(GateStatus::kNotRun, false));
    }
    if (has(7))
      findings.push_back(finding(Severity::kError));
    if (has(8)) {
      findings.push_back(finding(Severity::kWarning));
      findings.push_back(finding(Severity::kNote));
    }
    StatusInputs inputs;
    inputs.verdicts = verdicts;
    inputs.findings = findings;
    inputs.input_error = has(9);
    inputs.internal_error = has(10);
    inputs.not_checked = has(11);

    int expected = 0;
    if (has(2) || has(3) || has(4) || has(11))
      expected = 3;
    if (has(1) || has(7))
      expected = 1;
    if (has(9))
      expected = 2;
    if (has(10))
      expected = 4;
    const RunStatus status = decide_status(inputs);
    ASSERT_EQ(exit_code(status), expected) << "combination " << bits;
    if (expected == 3) {
      ASSERT_EQ(run_status_name(status), has(3) ? "invalid" : "inconclusive");
    }
  }
}

TEST(DecideStatus, NothingAtAllPasses) {
  EXPECT_EQ(decide_status({}), RunStatus::kPass);
}

TEST(RunStatus, NamesAndCodesAreThoseOfTheDesign) {
  EXPECT_EQ(run_status_name(RunStatus::kPass), "pass");
  EXPECT_EQ(run_status_name(RunStatus::kFail), "fail");
  EXPECT_EQ(run_status_name(RunStatus::kInputError), "error");
  EXPECT_EQ(run_status_name(RunStatus::kInconclusive), "inconclusive");
  EXPECT_EQ(run_status_name(RunStatus::kInvalid), "invalid");
  EXPECT_EQ(run_status_name(RunStatus::kInternalError), "error");
  EXPECT_EQ(exit_code(RunStatus::kPass), 0);
  EXPECT_EQ(exit_code(RunStatus::kFail), 1);
  EXPECT_EQ(exit_code(RunStatus::kInputError), 2);
  EXPECT_EQ(exit_code(RunStatus::kInconclusive), 3);
  EXPECT_EQ(exit_code(RunStatus::kInvalid), 3);
  EXPECT_EQ(exit_code(RunStatus::kInternalError), 4);
}

// A report nobody filled must not read as a pass.
TEST(Report, StartsInconclusive) {
  EXPECT_EQ(Report{}.status, RunStatus::kInconclusive);
}

TEST(RunStatusFrom, NameAndExitCodeGiveTheStatusBack) {
  for (const RunStatus status :
       {RunStatus::kPass, RunStatus::kFail, RunStatus::kInputError, RunStatus::kInconclusive,
        RunStatus::kInvalid, RunStatus::kInternalError}) {
    EXPECT_EQ(run_status_from(run_status_name(status), exit_code(status)), status);
  }
}

TEST(RunStatusFrom, ContradictionsAndUnknownNamesAreNothing) {
  EXPECT_EQ(run_status_from("pass", 1), std::nullopt);
  EXPECT_EQ(run_status_from("error", 1), std::nullopt);
  EXPECT_EQ(run_status_from("passed", 0), std::nullopt);
}

}  // namespace
}  // namespace mg
