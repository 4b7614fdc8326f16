// Enumerators by their JSON names, as one overload set for the writer and the reader.  Private to
// reports/json.
#pragma once

#include <optional>
#include <string_view>

#include "harness/result/report.h"

namespace mg::report_json {

inline std::string_view enum_name(Severity value) {
  return severity_name(value);
}
inline std::string_view enum_name(GateStatus value) {
  return gate_status_name(value);
}
inline std::string_view enum_name(TensorClass value) {
  return tensor_class_name(value);
}
inline std::string_view enum_name(DetectionOutcome value) {
  return detection_outcome_name(value);
}
inline std::string_view enum_name(StopReason value) {
  return stop_reason_name(value);
}
inline std::string_view enum_name(IntervalMethod value) {
  return interval_method_name(value);
}

template <typename Enum>
std::optional<Enum> enum_from(std::string_view name);

template <>
inline std::optional<Severity> enum_from<Severity>(std::string_view name) {
  return severity_from_name(name);
}
template <>
inline std::optional<GateStatus> enum_from<GateStatus>(std::string_view name) {
  return gate_status_from_name(name);
}
template <>
inline std::optional<TensorClass> enum_from<TensorClass>(std::string_view name) {
  return tensor_class_from_name(name);
}
template <>
inline std::optional<DetectionOutcome> enum_from<DetectionOutcome>(std::string_view name) {
  return detection_outcome_from_name(name);
}
template <>
inline std::optional<StopReason> enum_from<StopReason>(std::string_view name) {
  return stop_reason_from_name(name);
}
template <>
inline std::optional<IntervalMethod> enum_from<IntervalMethod>(std::string_view name) {
  return interval_method_from_name(name);
}

}  // namespace mg::report_json
