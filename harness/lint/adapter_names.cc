#include "harness/lint/adapter_names.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

#include "harness/model/names.h"

namespace mg::lint {
namespace {

/// "X.lora_A.weight" as X and what follows it; nothing for other names.
struct Parts {
  std::string module;
  std::string_view side;  // ".lora_A" or ".lora_B"
};

std::optional<Parts> parts_of(const std::string& name) {
  for (const std::string_view side : {".lora_A", ".lora_B"}) {
    const std::size_t at = name.find(side);
    if (at != std::string::npos && name.ends_with(".weight")) {
      return Parts{name.substr(0, at), side};
    }
  }
  return std::nullopt;
}

/// The module with PEFT's prefix, under each name that versions and trainers have given it: without
/// an inner ".linear" (Gemma 4's clipped layers), and with or without the level "model.".
std::vector<std::string> candidates(std::string module) {
  if (module.starts_with(kPeftPrefix)) {
    module.erase(0, kPeftPrefix.size());
  }
  std::vector<std::string> plain = {module};
  constexpr std::string_view kInner = ".linear";
  if (module.ends_with(kInner)) {
    plain.push_back(module.substr(0, module.size() - kInner.size()));
  }
  std::vector<std::string> all;
  for (const std::string& name : plain) {
    all.push_back(name);
    all.push_back("model." + name);
    if (name.starts_with("model.")) {
      all.push_back(name.substr(6));
    }
  }
  return all;
}

bool fits(const HeaderTensor& weight, const HeaderTensor& pair, std::string_view side) {
  if (weight.shape.size() != 2 || pair.shape.size() != 2) {
    return false;
  }
  return side == ".lora_A" ? weight.shape[1] == pair.shape[1] : weight.shape[0] == pair.shape[0];
}

/// The tensors of the modules that these names are of: both halves of each pair.
std::vector<const HeaderTensor*> whole_pairs(const Context& context,
                                             const std::vector<std::string>& names) {
  std::set<std::string> modules;
  for (const std::string& name : names) {
    const std::optional<Parts> parts = parts_of(name);
    modules.insert(parts ? parts->module : name);
  }
  std::vector<const HeaderTensor*> tensors;
  for (const HeaderTensor& tensor : context.adapter->tensors) {
    const std::size_t at = tensor.name.find(".lora_");
    if (modules.contains(tensor.name.substr(0, at))) {
      tensors.push_back(&tensor);
    }
  }
  return tensors;
}

}  // namespace

std::optional<std::map<std::string, std::string>> adapter_renames(
    const Context& context, const std::vector<std::string>& names) {
  std::set<std::string> taken;
  for (const HeaderTensor& tensor : context.adapter->tensors) {
    taken.insert(tensor.name);
  }
  std::map<std::string, std::string> renames;
  for (const HeaderTensor* pair : whole_pairs(context, names)) {
    const std::optional<Parts> parts = parts_of(pair->name);
    if (!parts) {
      return std::nullopt;  // a magnitude or a bias: not a plain pair
    }
    std::set<std::string> modules;
    for (const std::string& module : candidates(parts->module)) {
      const HeaderTensor* weight = context.base->find(canonical_name(module + ".weight"));
      if (weight != nullptr && fits(*weight, *pair, parts->side)) {
        // As the base spells it, which PEFT looks for.
        modules.insert(weight->name.substr(0, weight->name.size() - 7));
      }
    }
    if (modules.size() != 1) {
      return std::nullopt;
    }
    std::string to =
        std::string(kPeftPrefix) + *modules.begin() + std::string(parts->side) + ".weight";
    if (!taken.insert(to).second) {
      return std::nullopt;
    }
    renames[pair->name] = std::move(to);
  }
  return renames.empty() ? std::nullopt : std::optional(renames);
}

}  // namespace mg::lint
