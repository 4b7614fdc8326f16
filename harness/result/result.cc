#include <algorithm>

#include "harness/result/audit.h"
#include "harness/result/comparison.h"
#include "harness/result/finding.h"
#include "harness/result/generation.h"
#include "harness/result/metric.h"
#include "harness/result/names.h"
#include "harness/result/selftest.h"
#include "harness/result/verdict.h"

namespace mg {
namespace {

constexpr NameTable<Severity, 3> kSeverities{{
    {Severity::kError, "error"},
    {Severity::kWarning, "warning"},
    {Severity::kNote, "note"},
}};

constexpr NameTable<GateStatus, 5> kGateStatuses{{
    {GateStatus::kPass, "pass"},
    {GateStatus::kFail, "fail"},
    {GateStatus::kInconclusive, "inconclusive"},
    {GateStatus::kInvalid, "invalid"},
    {GateStatus::kNotRun, "not_run"},
}};

constexpr NameTable<TensorClass, 7> kTensorClasses{{
    {TensorClass::kTarget, "target"},
    {TensorClass::kUntouched, "untouched"},
    {TensorClass::kReplaced, "replaced"},
    {TensorClass::kMissing, "missing"},
    {TensorClass::kExtra, "extra"},
    {TensorClass::kRenamed, "renamed"},
    {TensorClass::kNotChecked, "not_checked"},
}};

constexpr NameTable<DetectionOutcome, 3> kDetectionOutcomes{{
    {DetectionOutcome::kCaught, "caught"},
    {DetectionOutcome::kMissed, "missed"},
    {DetectionOutcome::kNotPlanted, "not_planted"},
}};

constexpr NameTable<StopReason, 4> kStopReasons{{
    {StopReason::kEndOfText, "end"},
    {StopReason::kLength, "length"},
    {StopReason::kContext, "context"},
    {StopReason::kNotFinite, "not_finite"},
}};

constexpr NameTable<IntervalMethod, 6> kIntervalMethods{{
    {IntervalMethod::kNone, "none"},
    {IntervalMethod::kLogT, "log-t"},
    {IntervalMethod::kT, "t"},
    {IntervalMethod::kBca, "bca"},
    {IntervalMethod::kExact, "exact"},
    {IntervalMethod::kRuleOfThree, "rule-of-three"},
}};

}  // namespace

std::string_view severity_name(Severity severity) {
  return name_in(kSeverities, severity);
}

std::optional<Severity> severity_from_name(std::string_view name) {
  return value_in(kSeverities, name);
}

std::string_view gate_status_name(GateStatus status) {
  return name_in(kGateStatuses, status);
}

std::optional<GateStatus> gate_status_from_name(std::string_view name) {
  return value_in(kGateStatuses, name);
}

std::string_view tensor_class_name(TensorClass tensor_class) {
  return name_in(kTensorClasses, tensor_class);
}

std::optional<TensorClass> tensor_class_from_name(std::string_view name) {
  return value_in(kTensorClasses, name);
}

std::string_view interval_method_name(IntervalMethod method) {
  return name_in(kIntervalMethods, method);
}

std::optional<IntervalMethod> interval_method_from_name(std::string_view name) {
  return value_in(kIntervalMethods, name);
}

std::string_view detection_outcome_name(DetectionOutcome outcome) {
  return name_in(kDetectionOutcomes, outcome);
}

std::optional<DetectionOutcome> detection_outcome_from_name(std::string_view name) {
  return value_in(kDetectionOutcomes, name);
}

std::string_view stop_reason_name(StopReason reason) {
  return name_in(kStopReasons, reason);
}

std::optional<StopReason> stop_reason_from_name(std::string_view name) {
  return value_in(kStopReasons, name);
}

DetectionCounts count_detections(const SelftestResult& selftest) {
  DetectionCounts counts;
  for (const Detection& detection : selftest.detections) {
    switch (detection.outcome) {
      case DetectionOutcome::kCaught:
        ++counts.caught;
        break;
      case DetectionOutcome::kMissed:
        ++counts.missed;
        break;
      case DetectionOutcome::kNotPlanted:
        ++counts.not_planted;
        break;
    }
  }
  return counts;
}

const MetricSummary* find_metric(const std::vector<NamedMetric>& metrics, std::string_view name) {
  const auto found = std::find_if(metrics.begin(), metrics.end(),
                                  [&](const NamedMetric& metric) { return metric.name == name; });
  return found == metrics.end() ? nullptr : &found->summary;
}

}  // namespace mg
