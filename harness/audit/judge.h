// From measurements to the judgement of one tensor: its row of the result and the stories that fit
// it. Not for: the judgement of the whole (findings.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/audit/diagnosis.h"
#include "harness/result/audit.h"

namespace mg {

/// One story about one tensor, to be grouped.
struct Story {
  Diagnosis diagnosis;
  std::string tensor;
};

struct ItemJudgement {
  TensorAudit audit;
  std::vector<Story> stories;
  // Targets only: the recipe and how many of the elements it explains.
  std::optional<Recipe> recipe;
  std::int64_t explained = 0;
  bool absorbed = false;    // the delta is not zero, yet the right merge equals the base
  bool zero_delta = false;  // the adapter does nothing here
  // With a base that the adapter was trained on beside the one given: how far the two lie apart in
  // units of the delta, and whether merged stands on that one.
  std::optional<double> base_gap;
  bool on_trained_base = false;
};

/// Names of adapter parts, or of a model still wrapped by PEFT (F13).
bool has_peft_residue(const std::string& name);

ItemJudgement judge_target(const TargetCase& c);
ItemJudgement judge_bytes(const BytesCase& c);
/// Items with nothing to measure: missing, extra, another shape, not checked.
ItemJudgement judge_absent(const AuditItem& item, const nlohmann::json& merged_config);

}  // namespace mg
