// How a low-rank pair on the fused experts of a layer (PEFT's target_parameters) lies on the
// parameter it adapts, and which stored tensors that parameter is where the base stores its experts
// one by one. PEFT: tuners/lora/layer.py, ParamWrapper; docs/reference/failures.md, F25.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/model/base_index.h"

namespace mg {

/// One stored tensor of a parameter: all of it, or a block of rows of one expert.
struct ExpertPart {
  BaseIndex::Weight weight;
  std::int64_t expert = -1;    // -1: all experts
  std::int64_t first_row = 0;  // within the expert's [d1, d2]
};

/// A parameter P [E, d1, d2] as the base stores it ([d1, d2] for E = 1: a router).
struct ExpertParameter {
  std::string name;
  std::int64_t experts = 0;
  std::int64_t d1 = 0;
  std::int64_t d2 = 0;
  std::vector<ExpertPart> parts;
};

/// The parameter of this canonical path, fused or one by one; nothing where the base has neither.
std::optional<ExpertParameter> find_parameter(const BaseIndex& base, const std::string& canonical);

enum class ExpertOrder {
  kNone,        // A and B do not fit the parameter
  kStraight,    // A on d2, B on d1: D_e = B_e * A_e
  kTransposed,  // A on d1, B on d2: D_e = (B_e * A_e)^T
};

struct ExpertFit {
  ExpertOrder order = ExpertOrder::kNone;
  bool by_version = false;  // d1 = d2: the shapes allow both, PEFT's version decided
};

ExpertFit fit_experts(const AdapterModule& module, const ExpertParameter& parameter,
                      std::string_view peft_version);

}  // namespace mg
