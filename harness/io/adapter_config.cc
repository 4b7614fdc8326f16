#include "harness/io/adapter_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "harness/io/adapter_match.h"
#include "harness/io/json_file.h"
#include "harness/io/problem_list.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

using Json = nlohmann::ordered_json;

// Keys that change nothing about the numbers of a trained adapter: how it was trained, started or
// is named. From LoraConfig of PEFT 0.21.2, and of older versions (merge_weights, enable_lora:
// 0.2).
constexpr std::array<std::string_view, 17> kInert = {
    "auto_mapping",   "corda_config",   "eva_config",     "inference_mode",
    "loftq_config",   "lora_dropout",   "lora_ga_config", "megatron_core",
    "merge_weights",  "modules_to_tie", "peft_version",   "qalora_group_size",
    "runtime_config", "task_type",      "velora_config",  "target_modules_to_tie",
    "lora_name"};

struct Feature {
  std::string_view key;
  std::string_view name;
};
// Keys that change what the adapter computes, in ways that base + s*B*A does not describe.
constexpr std::array<Feature, 8> kUnsupported = {{
    {"alora_invocation_tokens", "aLoRA: the adapter acts on some tokens only and cannot be merged"},
    {"arrow_config", "Arrow routing chooses between adapters at run time and cannot be merged"},
    {"enable_lora", "MergedLinear adapters of PEFT before 0.3"},
    {"kasa_config", "KaSA changes the base weights and puts a diagonal between B and A"},
    {"layer_replication", "layer_replication: the model has more layers than its checkpoint"},
    {"megatron_config", "LoRA on Megatron's parallel layers"},
    {"monteclora_config", "MonteCLoRA: the adapter is sampled"},
    {"use_bdlora", "BD-LoRA: block-diagonal factors"},
}};

bool is_neutral(const Json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         (value.is_number() && value.get<double>() == 0.0) ||
         (value.is_string() && value.get_ref<const std::string&>().empty()) ||
         (value.is_structured() && value.empty());
}

class ConfigReader {
 public:
  ConfigReader(const Json& json, std::string_view file) : json_(json) { config_.file = file; }

  AdapterConfig read();

 private:
  const Json* find(std::string_view key) {
    consumed_.push_back(key);
    const auto it = json_.find(key);
    return it == json_.end() || it->is_null() ? nullptr : &*it;
  }
  void problem(std::string_view key, std::string_view expected, std::string actual) {
    problems_.push_back(fmt::format("{}: expected {}, found {}", key, expected, actual));
  }
  static std::string show(const Json& value) {
    const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    return text.size() <= 40 ? text : std::string(json_kind(value));
  }

  void read_peft_type();
  void read_text(std::string_view key, std::string& out);
  void read_flag(std::string_view key, bool& out);
  void read_scale();
  void read_names(std::string_view key, std::vector<std::string>& out);
  void read_selector(std::string_view key, ModuleSelector& out);
  void read_ranks();
  void read_alphas();
  void read_layers();
  void read_layers_pattern();
  void read_tokens();
  bool read_integers(std::string_view key, const Json& value, std::vector<std::int64_t>& out);
  void read_bias();
  void read_init();
  void read_features();
  void read_unknown();
  void check_combinations();
  void check_patterns();

  const Json& json_;
  AdapterConfig config_;
  std::vector<std::string_view> consumed_;
  std::vector<std::string> problems_;
};

AdapterConfig ConfigReader::read() {
  read_peft_type();
  read_text("base_model_name_or_path", config_.base_model_name_or_path);
  read_text("revision", config_.revision);
  read_text("peft_version", config_.peft_version);
  read_scale();
  read_flag("use_rslora", config_.use_rslora);
  read_flag("use_dora", config_.use_dora);
  read_flag("fan_in_fan_out", config_.fan_in_fan_out);
  read_flag("lora_bias", config_.lora_bias);
  read_flag("ensure_weight_tying", config_.ensure_weight_tying);
  read_bias();
  read_ranks();
  read_alphas();
  read_selector("target_modules", config_.target_modules);
  read_selector("exclude_modules", config_.exclude_modules);
  read_names("target_parameters", config_.target_parameters);
  read_names("modules_to_save", config_.modules_to_save);
  read_layers();
  read_layers_pattern();
  read_tokens();
  read_init();
  read_features();
  read_unknown();
  check_combinations();
  check_patterns();
  if (!problems_.empty()) {
    throw Error({.code = "adapter.config",
                 .what = "adapter_config.json cannot be used",
                 .where = config_.file,
                 .expected = {},
                 .actual = list_problems(problems_),
                 .hint = "compare with a file that PEFT's save_pretrained wrote"});
  }
  return std::move(config_);
}

void ConfigReader::read_peft_type() {
  read_text("peft_type", config_.peft_type);
  if (config_.peft_type == "LORA") {
    return;
  }
  throw Error(
      {.code = "adapter.peft-type",
       .what = config_.peft_type.empty()
                   ? "adapter_config.json does not say what kind of adapter this is"
                   : "this kind of adapter is not supported",
       .where = fmt::format("{}, peft_type", config_.file),
       .expected = "\"LORA\"",
       .actual = config_.peft_type.empty() ? "nothing" : fmt::format("\"{}\"", config_.peft_type),
       .hint = config_.peft_type.empty()
                   ? "the file was not written by PEFT's save_pretrained"
                   : "PEFT's convert_to_lora makes a LoRA of some other adapters"});
}

void ConfigReader::read_text(std::string_view key, std::string& out) {
  const Json* value = find(key);
  if (value == nullptr) {
    return;
  }
  if (!value->is_string()) {
    problem(key, "a string", show(*value));
    return;
  }
  out = value->get<std::string>();
}

void ConfigReader::read_flag(std::string_view key, bool& out) {
  const Json* value = find(key);
  if (value == nullptr) {
    return;
  }
  if (!value->is_boolean()) {
    problem(key, "true or false", show(*value));
    return;
  }
  out = value->get<bool>();
}

// PEFT would take 8 for a missing r or lora_alpha; a scale nobody wrote down is no scale to verify
// against (F19).
void ConfigReader::read_scale() {
  const Json* rank = find("r");
  if (rank == nullptr || !rank->is_number_unsigned() || rank->get<std::uint64_t>() == 0 ||
      rank->get<std::uint64_t>() > std::numeric_limits<std::int32_t>::max()) {
    problem("r", "a positive integer", rank == nullptr ? "nothing" : show(*rank));
  } else {
    config_.r = rank->get<std::int64_t>();
  }
  const Json* alpha = find("lora_alpha");
  if (alpha == nullptr || !alpha->is_number() || !std::isfinite(alpha->get<double>())) {
    problem("lora_alpha", "a number", alpha == nullptr ? "nothing" : show(*alpha));
  } else {
    config_.lora_alpha = alpha->get<double>();
  }
}

void ConfigReader::read_names(std::string_view key, std::vector<std::string>& out) {
  const Json* value = find(key);
  if (value == nullptr) {
    return;
  }
  const bool strings =
      value->is_array() &&
      std::all_of(value->begin(), value->end(), [](const Json& item) { return item.is_string(); });
  if (!strings) {
    problem(key, "a list of strings", show(*value));
    return;
  }
  for (const Json& item : *value) {
    out.push_back(item.get<std::string>());
  }
}

void ConfigReader::read_selector(std::string_view key, ModuleSelector& out) {
  const Json* value = find(key);
  if (value == nullptr) {
    return;
  }
  if (!value->is_string()) {
    read_names(key, out.names);
    out.kind = ModuleSelector::Kind::kList;
    return;
  }
  out.regex = value->get<std::string>();
  std::string lower = out.regex;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool all = key == "target_modules" && lower == "all-linear";
  out.kind = all ? ModuleSelector::Kind::kAllLinear : ModuleSelector::Kind::kRegex;
}

void ConfigReader::read_ranks() {
  const Json* value = find("rank_pattern");
  if (value == nullptr) {
    return;
  }
  if (!value->is_object()) {
    problem("rank_pattern", "an object", show(*value));
    return;
  }
  for (const auto& [key, rank] : value->items()) {
    if (!rank.is_number_unsigned() || rank.get<std::uint64_t>() == 0 ||
        rank.get<std::uint64_t>() > std::numeric_limits<std::int32_t>::max()) {
      problem(fmt::format("rank_pattern.{}", key), "a positive integer", show(rank));
      continue;
    }
    config_.rank_pattern.emplace_back(key, rank.get<std::int64_t>());
  }
}

void ConfigReader::read_alphas() {
  const Json* value = find("alpha_pattern");
  if (value == nullptr) {
    return;
  }
  if (!value->is_object()) {
    problem("alpha_pattern", "an object", show(*value));
    return;
  }
  for (const auto& [key, alpha] : value->items()) {
    if (!alpha.is_number() || !std::isfinite(alpha.get<double>())) {
      problem(fmt::format("alpha_pattern.{}", key), "a number", show(alpha));
      continue;
    }
    config_.alpha_pattern.emplace_back(key, alpha.get<double>());
  }
}

bool ConfigReader::read_integers(std::string_view key, const Json& value,
                                 std::vector<std::int64_t>& out) {
  const auto usable = [](const Json& item) {
    return item.is_number_unsigned() &&
           item.get<std::uint64_t>() <=
               static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  };
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), usable)) {
    problem(key, "a list of non-negative integers", show(value));
    return false;
  }
  for (const Json& item : value) {
    out.push_back(item.get<std::int64_t>());
  }
  return true;
}

void ConfigReader::read_layers() {
  const Json* value = find("layers_to_transform");
  if (value == nullptr) {
    return;
  }
  // One integer stands for a list of one.
  read_integers("layers_to_transform", value->is_number() ? Json::array({*value}) : *value,
                config_.layers_to_transform);
}

void ConfigReader::read_layers_pattern() {
  const Json* value = find("layers_pattern");
  if (value == nullptr) {
    return;
  }
  if (!value->is_string()) {
    read_names("layers_pattern", config_.layers_pattern);
  } else if (!value->get_ref<const std::string&>().empty()) {
    config_.layers_pattern.push_back(value->get<std::string>());
  }
}

void ConfigReader::read_tokens() {
  const Json* value = find("trainable_token_indices");
  if (value == nullptr) {
    return;
  }
  std::vector<std::int64_t> rows;
  if (!value->is_object()) {
    if (read_integers("trainable_token_indices", *value, rows)) {
      config_.trainable_token_indices.emplace_back("embed_tokens", std::move(rows));
      config_.trainable_tokens_of_input = true;
    }
    return;
  }
  for (const auto& [module, indices] : value->items()) {
    rows.clear();
    if (read_integers(fmt::format("trainable_token_indices.{}", module), indices, rows)) {
      config_.trainable_token_indices.emplace_back(module, rows);
    }
  }
}

void ConfigReader::read_bias() {
  config_.bias = "none";
  read_text("bias", config_.bias);
  if (config_.bias != "none" && config_.bias != "all" && config_.bias != "lora_only") {
    problem("bias", "\"none\", \"all\" or \"lora_only\"", fmt::format("\"{}\"", config_.bias));
  }
}

void ConfigReader::read_init() {
  config_.init_lora_weights = "true";
  const Json* value = find("init_lora_weights");
  if (value == nullptr) {
    return;
  }
  if (value->is_boolean()) {
    config_.init_lora_weights = value->get<bool>() ? "true" : "false";
    return;
  }
  if (!value->is_string()) {
    problem("init_lora_weights", "true, false or a string", show(*value));
    return;
  }
  config_.init_lora_weights = value->get<std::string>();
  std::string kind = config_.init_lora_weights;
  std::transform(kind.begin(), kind.end(), kind.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  // These subtract their start from the base, and PEFT does so again whenever it loads the adapter.
  // lora_ga does it in training only: at loading PEFT has no gradients and leaves the base alone
  // (peft.tuners.lora.layer, lora_ga_init).
  config_.init_changes_base =
      kind.starts_with("pissa") || kind.starts_with("corda") || kind == "olora" || kind == "loftq";
}

void ConfigReader::read_features() {
  for (const Feature& feature : kUnsupported) {
    const Json* value = find(feature.key);
    if (value != nullptr && !is_neutral(*value)) {
      config_.unsupported.push_back(fmt::format("{} ({})", feature.key, feature.name));
    }
  }
  const Json* qalora = find("use_qalora");
  if (qalora != nullptr && !is_neutral(*qalora)) {
    config_.unsupported.push_back("use_qalora (QALoRA: inputs are pooled before A)");
  }
}

void ConfigReader::read_unknown() {
  for (const auto& [key, value] : json_.items()) {
    const bool known = std::find(consumed_.begin(), consumed_.end(), key) != consumed_.end() ||
                       std::find(kInert.begin(), kInert.end(), key) != kInert.end();
    if (!known && !is_neutral(value)) {
      config_.unknown_keys.push_back(key);
    }
  }
}

// The combinations that LoraConfig.__post_init__ refuses.
void ConfigReader::check_combinations() {
  const bool text = config_.target_modules.kind == ModuleSelector::Kind::kRegex ||
                    config_.target_modules.kind == ModuleSelector::Kind::kAllLinear;
  if (text && !config_.layers_to_transform.empty()) {
    problem("layers_to_transform", "nothing beside target_modules as one string", "layers");
  }
  if (text && !config_.layers_pattern.empty()) {
    problem("layers_pattern", "nothing beside target_modules as one string", "a pattern");
  }
  const auto layers = json_.find("layers_to_transform");
  if (!config_.layers_pattern.empty() && (layers == json_.end() || layers->is_null())) {
    problem("layers_pattern", "layers_to_transform beside it", "none");
  }
  if (config_.lora_bias && config_.use_dora) {
    problem("lora_bias", "false with use_dora, which PEFT does not combine", "true");
  }
}

void ConfigReader::check_patterns() {
  if (!problems_.empty()) {
    return;
  }
  try {
    const ModuleMatcher compiled(config_);
  } catch (const Error& error) {
    const std::string& where = error.parts().where;
    problem(where.substr(std::min(where.size(), config_.file.size() + 2)),
            "a regular expression of Python's re", error.parts().actual);
  }
}

}  // namespace

AdapterConfig parse_adapter_config(const nlohmann::ordered_json& json, std::string_view file) {
  if (!json.is_object()) {
    throw Error({.code = "adapter.config",
                 .what = "adapter_config.json is not an object",
                 .where = std::string(file),
                 .expected = "{...}",
                 .actual = std::string(json_kind(json)),
                 .hint = {}});
  }
  return ConfigReader(json, file).read();
}

}  // namespace mg
