#include "harness/model/expert_layout.h"

#include <array>
#include <charconv>

namespace mg {
namespace {

struct Fused {
  std::string_view fused;
  std::array<std::string_view, 2> parts;  // in the order of the fused rows
};

// Names of experts stored one by one.  Mixtral: w1 = gate, w3 = up, w2 = down
// (transformers conversion_mapping, "mixtral" and "qwen2_moe").
constexpr auto kFused = std::to_array<Fused>({
    {"gate_up_proj", {"gate_proj", "up_proj"}},
    {"gate_up_proj", {"w1", "w3"}},
    {"down_proj", {"down_proj", ""}},
    {"down_proj", {"w2", ""}},
});

std::string container_of(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string::npos ? std::string() : path.substr(0, dot);
}

std::optional<ExpertParameter> fused_parameter(const BaseIndex& base, const std::string& name) {
  const BaseIndex::Weight weight = base.find(name);
  if (!weight) {
    return std::nullopt;
  }
  const Shape& shape = weight.stored->view.shape;
  if (shape.size() == 3) {
    return ExpertParameter{name, shape[0], shape[1], shape[2], {{.weight = weight}}};
  }
  if (shape.size() == 2) {
    return ExpertParameter{name, 1, shape[0], shape[1], {{.weight = weight}}};
  }
  return std::nullopt;
}

// The parts of expert e under `container`, or none.
bool add_expert(const BaseIndex& base, const std::string& container, const Fused& names,
                std::int64_t e, ExpertParameter& parameter) {
  std::int64_t row = 0;
  std::int64_t columns = 0;
  std::vector<ExpertPart> parts;
  for (const std::string_view part : names.parts) {
    if (part.empty()) {
      continue;
    }
    const BaseIndex::Weight weight =
        base.find(container + "." + std::to_string(e) + "." + std::string(part) + ".weight");
    if (!weight || weight.stored->view.shape.size() != 2) {
      return false;
    }
    const bool fits = parts.empty() || weight.stored->view.dim(1) == columns;
    if (!fits) {
      return false;
    }
    columns = weight.stored->view.dim(1);
    parts.push_back({.weight = weight, .expert = e, .first_row = row});
    row += weight.stored->view.dim(0);
  }
  if (e > 0 && (row != parameter.d1 || columns != parameter.d2)) {
    return false;
  }
  parameter.d1 = row;
  parameter.d2 = columns;
  parameter.experts = e + 1;
  parameter.parts.insert(parameter.parts.end(), parts.begin(), parts.end());
  return true;
}

// "0.19.1" as numbers; what is missing or not a number counts as 0.
std::array<int, 3> version_numbers(std::string_view text) {
  std::array<int, 3> numbers = {};
  for (int& number : numbers) {
    const std::string_view part = text.substr(0, text.find('.'));
    std::from_chars(part.data(), part.data() + part.size(), number);
    text.remove_prefix(std::min(text.size(), part.size() + 1));
  }
  return numbers;
}

}  // namespace

std::optional<ExpertParameter> find_parameter(const BaseIndex& base, const std::string& canonical) {
  if (std::optional<ExpertParameter> fused = fused_parameter(base, canonical)) {
    return fused;
  }
  const std::string container = container_of(canonical);
  for (const Fused& names : kFused) {
    if (last_component(canonical) != names.fused) {
      continue;
    }
    ExpertParameter parameter;
    parameter.name = canonical;
    for (std::int64_t e = 0; add_expert(base, container, names, e, parameter); ++e) {
    }
    if (parameter.experts > 0) {
      return parameter;
    }
  }
  return std::nullopt;
}

ExpertFit fit_experts(const AdapterModule& module, const ExpertParameter& parameter,
                      std::string_view peft_version) {
  if (module.a.dim(0) != module.rank * parameter.experts || module.b.dim(1) != module.a.dim(0)) {
    return {};
  }
  const std::int64_t on_a = module.a.dim(1);
  const std::int64_t on_b = module.b.dim(0);
  const bool straight = on_a == parameter.d2 && on_b == parameter.d1;
  const bool transposed = on_a == parameter.d1 && on_b == parameter.d2;
  if (straight && transposed) {
    // 0.19.1 and later swap in and out features of [E, out, in] storage; earlier versions never did
    // (0.19.0 by an inverted condition).  A two-dimensional parameter is a plain linear layer's.
    const bool swaps =
        parameter.experts == 1 || version_numbers(peft_version) >= std::array<int, 3>{0, 19, 1};
    return {swaps ? ExpertOrder::kStraight : ExpertOrder::kTransposed, parameter.experts > 1};
  }
  return {straight     ? ExpertOrder::kStraight
          : transposed ? ExpertOrder::kTransposed
                       : ExpertOrder::kNone,
          false};
}

}  // namespace mg
