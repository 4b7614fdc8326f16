#include "harness/io/adapter_match.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace mg {
namespace {

bool in_list(const std::vector<std::string>& names, std::string_view module) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return ends_with_component(module, name); });
}

// A dot in a pattern stands for any character.
bool plain_equal(std::string_view pattern, std::string_view text) {
  return std::equal(pattern.begin(), pattern.end(), text.begin(), text.end(),
                    [](char expected, char actual) {
                      return expected == actual || (expected == '.' && actual != '\n');
                    });
}

std::string where(const AdapterConfig& config, std::string_view key) {
  return fmt::format("{}, {}", config.file, key);
}

}  // namespace

bool ends_with_component(std::string_view module, std::string_view name) {
  return module == name || (module.size() > name.size() && module.ends_with(name) &&
                            module[module.size() - name.size() - 1] == '.');
}

ModuleMatcher::ModuleMatcher(const AdapterConfig& config) : config_(&config) {
  for (const auto& [key, rank] : config.rank_pattern) {
    rank_keys_.push_back(tail(key, where(config, "rank_pattern")));
  }
  for (const auto& [key, alpha] : config.alpha_pattern) {
    alpha_keys_.push_back(tail(key, where(config, "alpha_pattern")));
  }
  for (const std::string& name : config.modules_to_save) {
    saved_.emplace_back(fmt::format("(^|.*\\.){}($|\\..*)", name),
                        where(config, "modules_to_save"));
  }
  if (config.target_modules.kind == ModuleSelector::Kind::kRegex) {
    target_.emplace(config.target_modules.regex, where(config, "target_modules"));
  }
  if (config.exclude_modules.kind == ModuleSelector::Kind::kRegex) {
    exclude_.emplace(config.exclude_modules.regex, where(config, "exclude_modules"));
  }
  if (config.layers_pattern.empty()) {
    // The first numbered component: of "layers.1.experts.0" the layer, not the expert.
    layers_.emplace_back(".*?\\.[^.]*\\.(?P<idx>\\d+)\\.", where(config, "layers_to_transform"));
  }
  for (const std::string& pattern : config.layers_pattern) {
    layers_.emplace_back(fmt::format("(?:^|.*?\\.){}\\.(?P<idx>\\d+)\\.", pattern),
                         where(config, "layers_pattern"));
  }
}

ModuleMatcher::Tail ModuleMatcher::tail(const std::string& pattern, const std::string& where) {
  if (is_plain_pattern(pattern)) {
    return {pattern, std::nullopt};
  }
  return {{}, PythonRegex(fmt::format("(.*\\.)?({})$", pattern), where)};
}

bool ModuleMatcher::matches(const Tail& tail, std::string_view module) {
  if (tail.regex) {
    return tail.regex->match(module);
  }
  const std::size_t size = tail.plain.size();
  return module.size() >= size && plain_equal(tail.plain, module.substr(module.size() - size)) &&
         (module.size() == size || module[module.size() - size - 1] == '.');
}

bool ModuleMatcher::is_saved_whole(std::string_view module) const {
  return std::any_of(saved_.begin(), saved_.end(),
                     [&](const PythonRegex& pattern) { return pattern.match(module); });
}

bool ModuleMatcher::layer_matches(std::string_view module) const {
  std::string digits;
  for (const PythonRegex& pattern : layers_) {
    if (pattern.match(module, "idx", digits)) {
      break;
    }
  }
  std::int64_t layer = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  const bool number = error == std::errc() && end == digits.data() + digits.size();
  const std::vector<std::int64_t>& wanted = config_->layers_to_transform;
  return number && std::find(wanted.begin(), wanted.end(), layer) != wanted.end();
}

bool ModuleMatcher::is_targeted(std::string_view module) const {
  using Kind = ModuleSelector::Kind;
  const ModuleSelector& exclude = config_->exclude_modules;
  if ((exclude.kind == Kind::kRegex && exclude_->full_match(module)) ||
      (exclude.kind == Kind::kList && in_list(exclude.names, module)) || is_saved_whole(module)) {
    return false;
  }
  const ModuleSelector& target = config_->target_modules;
  switch (target.kind) {
    case Kind::kNone:
      return false;
    case Kind::kAllLinear:
      return true;
    case Kind::kRegex:
      return target_->full_match(module);
    case Kind::kList:
      break;
  }
  // A module given by its full name is taken whatever layers_to_transform says, as PEFT does.
  if (std::find(target.names.begin(), target.names.end(), module) != target.names.end()) {
    return true;
  }
  return in_list(target.names, module) &&
         (config_->layers_to_transform.empty() || layer_matches(module));
}

std::pair<std::int64_t, double> ModuleMatcher::rank_and_alpha(std::string_view module) const {
  const auto first = [&](const std::vector<Tail>& tails) {
    const auto it = std::find_if(tails.begin(), tails.end(),
                                 [&](const Tail& tail) { return matches(tail, module); });
    return static_cast<std::size_t>(it - tails.begin());
  };
  const std::size_t rank = first(rank_keys_);
  const std::size_t alpha = first(alpha_keys_);
  return {rank < rank_keys_.size() ? config_->rank_pattern[rank].second : config_->r,
          alpha < alpha_keys_.size() ? config_->alpha_pattern[alpha].second : config_->lora_alpha};
}

std::pair<std::int64_t, double> rank_and_alpha(const AdapterConfig& config,
                                               std::string_view module) {
  return ModuleMatcher(config).rank_and_alpha(module);
}

bool is_targeted(const AdapterConfig& config, std::string_view module) {
  return ModuleMatcher(config).is_targeted(module);
}

}  // namespace mg
