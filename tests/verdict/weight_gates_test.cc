#include <gtest/gtest.h>

#include "harness/verdict/judge.h"

namespace mg {
namespace {

TensorAudit target(const std::string& name, double c, double rho) {
  TensorAudit tensor;
  tensor.name = name;
  tensor.tensor_class = TensorClass::kTarget;
  tensor.c_remerge = c;
  tensor.rho_remerge = rho;
  tensor.verdict = GateStatus::kPass;
  return tensor;
}

TensorAudit untouched(const std::string& name) {
  TensorAudit tensor;
  tensor.name = name;
  tensor.tensor_class = TensorClass::kUntouched;
  tensor.verdict = GateStatus::kPass;
  return tensor;
}

AuditResult good_audit() {
  AuditResult audit;
  audit.tensors = {target("q", 1.001, 0.01), target("k", 0.999, 0.02), untouched("norm")};
  audit.summary.target = 2;
  audit.summary.untouched = 1;
  return audit;
}

Verdict gate(const AuditResult& audit, const std::string& name) {
  for (Verdict& verdict : judge_weights(audit, {0.01, 0.1, "measured"})) {
    if (verdict.gate == name) {
      return verdict;
    }
  }
  ADD_FAILURE() << name;
  return {};
}

TEST(WeightGates, AGoodMergePasses) {
  for (const Verdict& verdict : judge_weights(good_audit(), {0.01, 0.1, "measured"})) {
    EXPECT_EQ(verdict.status, GateStatus::kPass) << verdict.gate << ": " << verdict.reason;
    EXPECT_TRUE(verdict.blocking) << verdict.gate;
  }
  EXPECT_EQ(*gate(good_audit(), "weights.residual").value, 0.02);
  EXPECT_EQ(*gate(good_audit(), "weights.slope").lower_limit, 0.99);
}

TEST(WeightGates, TheTensorFurthestOutIsNamed) {
  AuditResult audit = good_audit();
  audit.tensors.push_back(target("v", 2.0, 0.01));
  EXPECT_EQ(gate(audit, "weights.slope").status, GateStatus::kFail);
  EXPECT_EQ(gate(audit, "weights.slope").value, 2.0);
  EXPECT_EQ(gate(audit, "weights.slope").reason, "outside the limit: v");
  audit.tensors.push_back(target("o", 1.0, 0.9));
  EXPECT_EQ(gate(audit, "weights.residual").reason, "outside the limit: o");
}

TEST(WeightGates, TheAuditsOwnWordCounts) {
  AuditResult audit = good_audit();
  audit.tensors[0].verdict = GateStatus::kFail;
  audit.tensors[1].verdict = GateStatus::kFail;
  EXPECT_EQ(gate(audit, "weights.targets").status, GateStatus::kFail);
  EXPECT_EQ(gate(audit, "weights.targets").value, 2.0);
  EXPECT_EQ(gate(audit, "weights.targets").reason, "not as expected: q and 1 more");
  audit = good_audit();
  audit.tensors[1].verdict = GateStatus::kInconclusive;
  EXPECT_EQ(gate(audit, "weights.targets").status, GateStatus::kInconclusive);
  EXPECT_EQ(gate(audit, "weights.targets").reason, "could not be judged: k");
  audit = good_audit();
  audit.tensors[2].verdict = GateStatus::kFail;
  EXPECT_EQ(gate(audit, "weights.untouched").status, GateStatus::kFail);
  EXPECT_EQ(gate(audit, "weights.targets").status, GateStatus::kPass);
}

TEST(WeightGates, MissingFailsAndUncheckedIsInconclusive) {
  AuditResult audit = good_audit();
  audit.summary.not_checked = 2;
  EXPECT_EQ(gate(audit, "weights.complete").status, GateStatus::kInconclusive);
  EXPECT_EQ(gate(audit, "weights.complete").reason, "tensors that could not be checked: 2");
  audit.summary.missing = 1;
  EXPECT_EQ(gate(audit, "weights.complete").status, GateStatus::kFail);
  EXPECT_EQ(gate(audit, "weights.complete").reason, "missing tensors: 1");
}

TEST(WeightGates, AnAdapterThatTouchesNothingProvesNothing) {
  AuditResult audit;
  audit.tensors = {untouched("norm")};
  EXPECT_EQ(gate(audit, "weights.targets").status, GateStatus::kInconclusive);
  EXPECT_EQ(gate(audit, "weights.targets").reason, "no tensor carries the adapter");
}

}  // namespace
}  // namespace mg
