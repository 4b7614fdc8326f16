#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/verdict/judge.h"

namespace mg {
namespace {

bool carries_adapter(const TensorAudit& tensor) {
  return tensor.tensor_class == TensorClass::kTarget ||
         tensor.tensor_class == TensorClass::kReplaced;
}

// The audit's own word on the tensors of some classes: its worst status, and the first tensor that
// has it.
struct Worst {
  GateStatus status = GateStatus::kPass;
  const TensorAudit* tensor = nullptr;
  std::int64_t count = 0;
};

int gravity(GateStatus status) {
  switch (status) {
    case GateStatus::kPass:
      return 0;
    case GateStatus::kNotRun:
    case GateStatus::kInconclusive:
      return 1;
    case GateStatus::kInvalid:
      return 2;
    case GateStatus::kFail:
      return 3;
  }
  return 3;
}

template <typename Select>
Worst worst_of(const AuditResult& audit, const Select& select) {
  Worst worst;
  for (const TensorAudit& tensor : audit.tensors) {
    if (!select(tensor)) {
      continue;
    }
    if (worst.tensor == nullptr || gravity(tensor.verdict) > gravity(worst.status)) {
      worst = {tensor.verdict, &tensor, 0};
    }
    worst.count += tensor.verdict == worst.status ? 1 : 0;
  }
  return worst;
}

Verdict weight_gate(const char* name, std::string basis) {
  Verdict verdict;
  verdict.gate = name;
  verdict.subject = "merged";
  verdict.status = GateStatus::kPass;
  verdict.basis = std::move(basis);
  return verdict;
}

void set(Verdict& verdict, GateStatus status, std::string reason) {
  if (gravity(status) > gravity(verdict.status)) {
    verdict.status = status;
    verdict.reason = std::move(reason);
  }
}

std::string tensor_text(const Worst& worst, const char* what) {
  return worst.count == 1
             ? fmt::format("{}: {}", what, worst.tensor->name)
             : fmt::format("{}: {} and {} more", what, worst.tensor->name, worst.count - 1);
}

// The number furthest out over the tensors that carry the adapter, and the audit's own verdicts on
// them.
Verdict judge_targets(const AuditResult& audit, const char* name, const std::string& basis,
                      std::optional<double> TensorAudit::*field, double neutral, double limit) {
  Verdict verdict = weight_gate(name, basis);
  verdict.reason = "every tensor that carries the adapter is within the limit";
  verdict.limit = neutral + limit;
  if (neutral > 0.0) {
    verdict.lower_limit = neutral - limit;
  }
  const TensorAudit* furthest = nullptr;
  for (const TensorAudit& tensor : audit.tensors) {
    const std::optional<double>& value = tensor.*field;
    if (!carries_adapter(tensor) || !value) {
      continue;
    }
    if (!verdict.value || std::abs(*value - neutral) > std::abs(*verdict.value - neutral)) {
      verdict.value = value;
      furthest = &tensor;
    }
  }
  if (furthest != nullptr && !(std::abs(*verdict.value - neutral) <= limit)) {
    set(verdict, GateStatus::kFail, "outside the limit: " + furthest->name);
  }
  return verdict;
}

template <typename Select>
Verdict judge_by_audit(const AuditResult& audit, const char* name, const char* basis,
                       const char* good, const Select& select) {
  Verdict verdict = weight_gate(name, basis);
  verdict.reason = good;
  verdict.unit = "tensors";
  verdict.limit = 0.0;
  verdict.value = 0.0;
  const Worst worst = worst_of(audit, select);
  if (worst.tensor == nullptr || worst.status == GateStatus::kPass) {
    return verdict;
  }
  verdict.value = static_cast<double>(worst.count);
  const bool failed = worst.status == GateStatus::kFail;
  set(verdict, failed ? GateStatus::kFail : GateStatus::kInconclusive,
      tensor_text(worst, failed ? "not as expected" : "could not be judged"));
  return verdict;
}

Verdict judge_presence(const AuditResult& audit) {
  Verdict verdict =
      weight_gate("weights.complete", "every tensor of the base is there once and could be read");
  const AuditSummary& summary = audit.summary;
  verdict.unit = "tensors";
  verdict.limit = 0.0;
  verdict.value = static_cast<double>(summary.missing + summary.not_checked);
  verdict.reason = "every tensor was found and checked";
  if (summary.not_checked > 0) {
    set(verdict, GateStatus::kInconclusive,
        fmt::format("tensors that could not be checked: {}", summary.not_checked));
  }
  if (summary.missing > 0) {
    set(verdict, GateStatus::kFail, fmt::format("missing tensors: {}", summary.missing));
  }
  return verdict;
}

}  // namespace

std::vector<Verdict> judge_weights(const AuditResult& audit, const WeightLimits& limits) {
  std::vector<Verdict> verdicts{
      judge_by_audit(audit, "weights.targets", "every adapted tensor is base + scale * B * A",
                     "every adapted tensor is as expected", carries_adapter),
      judge_targets(audit, "weights.slope", limits.basis, &TensorAudit::c_remerge, 1.0,
                    limits.slope_within),
      judge_targets(audit, "weights.residual", limits.basis, &TensorAudit::rho_remerge, 0.0,
                    limits.residual_at_most),
      judge_by_audit(audit, "weights.untouched", "what the adapter does not touch is the base's",
                     "every other tensor equals the base",
                     [](const TensorAudit& tensor) {
                       return tensor.tensor_class == TensorClass::kUntouched ||
                              tensor.tensor_class == TensorClass::kRenamed;
                     }),
      judge_presence(audit),
  };
  if (std::none_of(audit.tensors.begin(), audit.tensors.end(), carries_adapter)) {
    set(verdicts.front(), GateStatus::kInconclusive, "no tensor carries the adapter");
  }
  return verdicts;
}

}  // namespace mg
