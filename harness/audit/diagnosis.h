// What went wrong with a tensor, as the catalogue names it: the row types and the context of the
// tests in diagnose_*.cc.  Not for: deciding whether something went wrong (measure.h, explain.h,
// compare.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/audit/compare.h"
#include "harness/audit/explain.h"
#include "harness/audit/plan.h"
#include "harness/io/adapter.h"
#include "harness/result/finding.h"
#include "kernels/core/parallel.h"

namespace mg {

/// One story that fits one tensor.  Stories with the same rule and key are reported as one finding.
struct Diagnosis {
  std::string rule;                    // "audit.scale"
  std::vector<std::string> catalogue;  // "F19"
  Severity severity = Severity::kError;
  std::string key;      // tells apart stories of one rule: "2" (times the scale)
  std::string message;  // of one tensor: "holds 2 times the delta: merged twice, or ..."
  std::string expected;
  std::string actual;
  std::string fix;
};

/// A target that no recipe explains.
struct TargetCase {
  const AuditPlan& plan;
  const AuditItem& item;
  const AdapterConfig& config;
  const nlohmann::json& base_config;
  TargetViews views;
  DType adapter_dtype = DType::kF32;
  const TargetMeasure& measure;
  const Explanation& best;
  ThreadPool& pool;

  std::int64_t rows() const { return views.delta->rows(); }
  std::int64_t cols() const { return views.delta->cols(); }
};

/// An untouched or replaced tensor whose bytes are not those expected.
struct BytesCase {
  const AuditPlan& plan;
  const AuditItem& item;
  const CompareMeasure& measure;
};

/// All stories that fit, the most telling first; never empty.
std::vector<Diagnosis> diagnose_target(const TargetCase& c);
std::vector<Diagnosis> diagnose_bytes(const BytesCase& c);

/// "row 3, column 17" of a flat index.
std::string element_place(const TensorView& view, std::int64_t index);
/// "row 3, column 17: -0.25 instead of 0.125, ..." of the first samples.
std::string describe_samples(const TensorView& view, const std::vector<ElementSample>& samples);

}  // namespace mg
