#include "harness/model/targets.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "harness/model/names.h"

namespace mg {
namespace {

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) != 0;
  });
}

// "...experts.3.up_proj"
bool is_single_expert(std::string_view module) {
  const std::size_t at = module.rfind(".experts.");
  if (at == std::string_view::npos) {
    return false;
  }
  const std::string_view rest = module.substr(at + std::string_view(".experts.").size());
  return is_number(rest.substr(0, rest.find('.')));
}

// The router beside the experts: "...mlp.gate" of Qwen, "...block_sparse_moe.gate" of Mixtral,
// "...mlp.router".
bool is_router(std::string_view module) {
  const std::string_view leaf = last_component(module);
  return leaf == "gate" || leaf == "router";
}

bool is_vision(std::string_view canonical) {
  return canonical.starts_with("visual.") || canonical.starts_with("vision_tower.") ||
         canonical.starts_with("multi_modal_projector.");
}

std::set<std::string> present_modules(const Adapter& adapter) {
  std::set<std::string> present;
  for (const AdapterModule& module : adapter.modules()) {
    if (module.kind != LowRankKind::kParameter) {
      present.insert(canonical_name(module.module));
    }
  }
  return present;
}

// "all-linear": every linear layer but the head, which PEFT finds by the model's class.
bool in_all_linear(std::string_view module, const BaseIndex& base) {
  if (module == BaseIndex::kHead || is_embedding_module(module)) {
    return false;
  }
  const BaseIndex::Weight weight = base.find(std::string(module) + ".weight");
  return weight && (weight.quantised || weight.stored->view.shape.size() == 2);
}

// The level that the base's names lack and the adapter's have: "transformer." where the base was
// saved as a bare backbone; empty where they agree.
std::string missing_level(const std::set<std::string>& present,
                          const std::vector<std::string>& modules) {
  for (const std::string& name : present) {
    for (const std::string_view level :
         {std::string_view("model."), std::string_view("transformer.")}) {
      if (name.starts_with(level) && !std::binary_search(modules.begin(), modules.end(), name) &&
          std::binary_search(modules.begin(), modules.end(), name.substr(level.size()))) {
        return std::string(level);
      }
    }
  }
  return {};
}

}  // namespace

NameGeneration generation_of(const Adapter& adapter) {
  for (const AdapterModule& module : adapter.modules()) {
    const std::string_view name = module.module;
    if (name.starts_with("model.language_model.") || name.starts_with("model.visual.") ||
        name.starts_with("model.vision_tower.")) {
      return NameGeneration::kNested;
    }
    if (name.starts_with("language_model.")) {
      return NameGeneration::kOld;
    }
  }
  return NameGeneration::kFlat;
}

std::string in_generation(std::string_view canonical, NameGeneration generation, bool has_vision) {
  if (generation == NameGeneration::kFlat || !has_vision) {
    return std::string(canonical);
  }
  const bool text = canonical.starts_with("model.");
  if (generation == NameGeneration::kNested) {
    return text                   ? "model.language_model." + std::string(canonical.substr(6))
           : is_vision(canonical) ? "model." + std::string(canonical)
                                  : std::string(canonical);
  }
  return text || canonical == BaseIndex::kHead ? "language_model." + std::string(canonical)
                                               : std::string(canonical);
}

TargetCheck check_targets(const Adapter& adapter, const BaseIndex& base) {
  const AdapterConfig& config = adapter.config();
  const bool by_parameter = !config.target_parameters.empty();
  const bool has_vision = std::any_of(base.modules().begin(), base.modules().end(),
                                      [](const std::string& module) { return is_vision(module); });
  const NameGeneration generation = generation_of(adapter);
  std::set<std::string> present = present_modules(adapter);
  const std::string level = missing_level(present, base.modules());
  TargetCheck check;
  for (const std::string& stored : base.modules()) {
    const std::string module = stored == BaseIndex::kHead ? stored : level + stored;
    if (is_router(module) || (by_parameter && is_single_expert(module))) {
      present.erase(module);
      continue;
    }
    const bool targeted = is_targeted(config, in_generation(module, generation, has_vision)) &&
                          (config.target_modules.kind != ModuleSelector::Kind::kAllLinear ||
                           in_all_linear(stored, base));
    const bool held = present.contains(module);
    if (targeted) {
      check.expected.push_back(module);
    }
    if (targeted && !held) {
      check.missing.push_back(module);
    }
    if (!targeted && held) {
      check.extra.push_back(module);
    }
  }
  return check;
}

}  // namespace mg
