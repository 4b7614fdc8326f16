#include <gtest/gtest.h>

#include "harness/result/report.h"

namespace mg {
namespace {

TEST(Names, RoundTripAndRejectUnknown) {
  for (const auto severity : {Severity::kError, Severity::kWarning, Severity::kNote}) {
    EXPECT_EQ(severity_from_name(severity_name(severity)), severity);
  }
  for (const auto status : {GateStatus::kPass, GateStatus::kFail, GateStatus::kInconclusive,
                            GateStatus::kInvalid, GateStatus::kNotRun}) {
    EXPECT_EQ(gate_status_from_name(gate_status_name(status)), status);
  }
  for (const auto tensor_class :
       {TensorClass::kTarget, TensorClass::kUntouched, TensorClass::kReplaced,
        TensorClass::kMissing, TensorClass::kExtra, TensorClass::kRenamed,
        TensorClass::kNotChecked}) {
    EXPECT_EQ(tensor_class_from_name(tensor_class_name(tensor_class)), tensor_class);
  }
  for (const auto method :
       {IntervalMethod::kNone, IntervalMethod::kLogT, IntervalMethod::kT, IntervalMethod::kBca,
        IntervalMethod::kExact, IntervalMethod::kRuleOfThree}) {
    EXPECT_EQ(interval_method_from_name(interval_method_name(method)), method);
  }
  EXPECT_EQ(severity_from_name("fatal"), std::nullopt);
  EXPECT_EQ(gate_status_from_name("passed"), std::nullopt);
  EXPECT_EQ(tensor_class_from_name(""), std::nullopt);
  EXPECT_EQ(interval_method_from_name("iid"), std::nullopt);
}

TEST(FindMetric, ByNameOrNull) {
  std::vector<NamedMetric> metrics(2);
  metrics[0].name = "kl";
  metrics[1].name = "js";
  metrics[1].summary.count = 7;
  ASSERT_NE(find_metric(metrics, "js"), nullptr);
  EXPECT_EQ(find_metric(metrics, "js")->count, 7);
  EXPECT_EQ(find_metric(metrics, "tv"), nullptr);
}

}  // namespace
}  // namespace mg
