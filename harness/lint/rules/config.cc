// What config.json means, by itself and against the base's.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "harness/lint/config_diff.h"
#include "harness/lint/expectation.h"
#include "harness/lint/rules.h"

namespace mg::lint {
namespace {

// vLLM refuses float16 for these (vllm/config/model.py, _FLOAT16_NOT_SUPPORTED_MODELS).
constexpr auto kNoFloat16 =
    std::to_array<std::string_view>({"gemma2", "gemma3", "gemma3_text", "glm4", "plamo2"});

/// The key named in a reader's error: "config.json, key rope_scaling.factor".
std::vector<std::string> key_path(const std::string& where) {
  const std::size_t at = where.find(", key ");
  std::vector<std::string> path;
  if (at == std::string::npos) {
    return path;
  }
  std::string rest = where.substr(at + 6);
  for (std::size_t dot = rest.find('.'); dot != std::string::npos; dot = rest.find('.')) {
    path.push_back(rest.substr(0, dot));
    rest.erase(0, dot + 1);
  }
  path.push_back(rest);
  return path;
}

const nlohmann::json* value_at(const ModelFolder& model, const std::vector<std::string>& path) {
  const nlohmann::json* value = model.json("config.json");
  for (const std::string& part : path) {
    if (value == nullptr || !value->is_object()) {
      return nullptr;
    }
    const auto it = value->find(part);
    value = it == value->end() ? nullptr : &*it;
  }
  return value;
}

void incomplete(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  const nlohmann::json* config = model.json("config.json");
  if (config == nullptr || !config->is_object()) {
    return;
  }
  if (model.model_type().empty()) {
    std::vector<Edit> edits;
    if (context.base && !context.base->model_type().empty()) {
      edits.push_back(set_key("config.json", {"model_type"}, context.base->model_type()));
    }
    report.error({.subject = "config.json: model_type",
                  .message = "the config does not say what model it is of",
                  .expected = "the base's model_type",
                  .actual = "no such key",
                  .edits = std::move(edits)});
    return;
  }
  const std::vector<ConfigLevel> levels = model.levels();
  const bool key_alone = std::any_of(levels.begin(), levels.end(), [](const ConfigLevel& level) {
    return level.object->size() == 1 && level.find("quantization_config") != nullptr;
  });
  if (!model.config_error || key_alone) {
    return;  // config.leftover-quantization-nested repairs it first
  }
  const ErrorParts& error = *model.config_error;
  Reporter::Details details = {.subject = error.where,
                               .message = error.what,
                               .expected = error.expected,
                               .actual = error.actual,
                               .fix = error.hint};
  if (error.code == "config.unsupported") {
    report.note(std::move(details));  // our reader's limit, not the model's fault
    return;
  }
  const std::vector<std::string> path = key_path(error.where);
  if (context.base && !path.empty()) {
    if (const nlohmann::json* of_base = value_at(*context.base, path)) {
      details.edits.push_back(set_key("config.json", path, *of_base));
      details.fix = "take the key from the base";
    }
  }
  report.error(std::move(details));
}

void use_cache(const Context& context, Reporter& report) {
  for (const ConfigLevel& level : context.merged.text_levels()) {
    const nlohmann::json* value = level.find("use_cache");
    if (value == nullptr || !value->is_boolean() || value->get<bool>()) {
      continue;
    }
    const bool base_too = context.base && value_at(*context.base, level.path_to("use_cache")) &&
                          *value_at(*context.base, level.path_to("use_cache")) == false;
    Reporter::Details details = {
        .subject = "config.json: " + level.key("use_cache"),
        .message = "left from training: every generated token recomputes the whole prompt",
        .expected = "true",
        .actual = "false",
        .edits = {set_key("config.json", level.path_to("use_cache"), true)}};
    if (base_too) {
      details.edits.clear();
      report.note(std::move(details));
    } else {
      report.warning(std::move(details));
    }
  }
}

void float16(const Context& context, Reporter& report) {
  const std::string type = context.merged.model_type();
  const bool listed_type =
      std::find(kNoFloat16.begin(), kNoFloat16.end(), type) != kNoFloat16.end();
  if (!listed_type || context.merged.majority_dtype() != DType::kF16) {
    return;
  }
  Reporter::Details details = {
      .subject = "config.json: dtype",
      .message = fmt::format("activations of {} overflow float16: outputs turn into NaN or repeat "
                             "one token; vLLM refuses it",
                             type),
      .expected = "bfloat16 or float32",
      .actual = "float16"};
  if (context.base && context.base->majority_dtype() == DType::kF16) {
    report.warning(std::move(details));
  } else {
    report.error(std::move(details));
  }
}

void unread_keys(const Context& context, Reporter& report) {
  const ModelFolder& merged = context.merged;
  if (!merged.config) {
    return;
  }
  std::set<std::string> keys(merged.config->unknown_keys.begin(),
                             merged.config->unknown_keys.end());
  if (context.base && context.base->config) {
    keys.insert(context.base->config->unknown_keys.begin(),
                context.base->config->unknown_keys.end());
  }
  for (const std::string& key : keys) {
    if (key.ends_with("quantization_config")) {
      continue;  // config.leftover-quantization
    }
    if (std::find(context.accepted_keys.begin(), context.accepted_keys.end(), key) !=
        context.accepted_keys.end()) {
      continue;
    }
    const std::vector<std::string> path = key_path(", key " + key);
    const nlohmann::json* after = value_at(merged, path);
    const nlohmann::json* before = context.base ? value_at(*context.base, path) : after;
    const bool differs = (before == nullptr) != (after == nullptr) ||
                         (before != nullptr && before->dump() != after->dump());
    Reporter::Details details = {
        .subject = "config.json: " + key,
        .message = differs ? "a key that was not read differs between base and merged: a "
                             "computation that was not done"
                           : "a key that was not read has a value: a computation may be missing",
        .expected = "a key this version knows, or a neutral value",
        .actual = key,
        .fix = "if the key is known to be harmless: --accept-key " + key};
    if (differs) {
      report.error(std::move(details));
    } else {
      report.warning(std::move(details));
    }
  }
}

/// One rope of each folder, read by the table or, without it, from the flat keys.
std::optional<double> flat_theta(const ModelFolder& model) {
  const nlohmann::json* value = model.effective("rope_theta");
  for (const char* object : {"rope_parameters", "rope_scaling"}) {
    const nlohmann::json* rope = model.effective(object);
    if (value == nullptr && rope != nullptr && rope->is_object() && rope->contains("rope_theta")) {
      value = &rope->at("rope_theta");
    }
  }
  return value != nullptr && value->is_number() ? std::optional(value->get<double>())
                                                : std::nullopt;
}

struct Thetas {
  std::string before;
  std::string after;
};

std::optional<Thetas> different_thetas(const Context& context) {
  const ModelFolder& merged = context.merged;
  if (merged.model_type().empty()) {
    return std::nullopt;  // no config to speak of: files.* or config.incomplete
  }
  const ModelFolder& base = *context.base;
  if (merged.arithmetic() != nullptr && base.arithmetic() != nullptr) {
    const std::vector<RopeConfig>& after = merged.config->ropes;
    const std::vector<RopeConfig>& before = base.config->ropes;
    for (std::size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
      if (before[i].theta != after[i].theta) {
        return Thetas{fmt::format("{:.10g}", before[i].theta),
                      fmt::format("{:.10g}", after[i].theta)};
      }
    }
    return std::nullopt;
  }
  const std::optional<double> before = flat_theta(base);
  const std::optional<double> after = flat_theta(merged);
  if (before && before != after) {
    return Thetas{fmt::format("{:.10g}", *before),
                  after ? fmt::format("{:.10g}", *after) : std::string("absent")};
  }
  return std::nullopt;
}

/// Gives merged the base's values of these keys, at the root and in the text part.  Nothing where
/// the two files nest differently.
std::vector<Edit> restore(const Context& context, bool (*wanted)(std::string_view)) {
  const std::vector<ConfigLevel> after = context.merged.text_levels();
  const std::vector<ConfigLevel> before = context.base->text_levels();
  std::vector<Edit> edits;
  if (after.size() != before.size()) {
    return edits;
  }
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (after[i].path != before[i].path) {
      return {};
    }
    std::set<std::string> keys;
    for (const ConfigLevel* level : {&after[i], &before[i]}) {
      for (const auto& [key, unused] : level->object->items()) {
        if (wanted(key)) {
          keys.insert(key);
        }
      }
    }
    for (const std::string& key : keys) {
      const nlohmann::json* old_value = before[i].find(key);
      const nlohmann::json* new_value = after[i].find(key);
      if (old_value == nullptr) {
        edits.push_back(set_key("config.json", after[i].path_to(key), std::nullopt));
      } else if (new_value == nullptr || *new_value != *old_value) {
        edits.push_back(set_key("config.json", after[i].path_to(key), *old_value));
      }
    }
  }
  return edits;
}

void rope_theta(const Context& context, Reporter& report) {
  if (const std::optional<Thetas> thetas = different_thetas(context)) {
    report.error({.subject = "config.json: rope_theta",
                  .message = "the rotary embedding's base is not the base model's: every position "
                             "is turned by other angles, and text repeats from the first token",
                  .expected = thetas->before,
                  .actual = thetas->after,
                  .edits = restore(context, is_rope_key)});
  }
}

/// transformers 5 moved rope_theta into rope_parameters.
void rope_form(const Context& context, Reporter& report) {
  for (const ConfigLevel& level : context.merged.text_levels()) {
    const nlohmann::json* rope = level.find("rope_parameters");
    if (rope == nullptr || !rope->is_object() || level.find("rope_theta") != nullptr ||
        !rope->contains("rope_theta")) {
      continue;
    }
    Reporter::Details details = {
        .subject = "config.json: " + level.key("rope_parameters"),
        .message =
            "rope_theta stands only in rope_parameters, as transformers 5 writes it; older "
            "readers take 10000 without a warning",
        .expected = "rope_theta in both places for readers of both generations",
        .actual = "rope_parameters.rope_theta = " + rope->at("rope_theta").dump(),
        .edits = {set_key("config.json", level.path_to("rope_theta"), rope->at("rope_theta"))}};
    if (context.server != nullptr && !context.server->new_rope_keys.supported &&
        rope->at("rope_theta") != 10000.0) {
      details.message += "; " + context.server->name + ": " + context.server->new_rope_keys.says;
      report.warning(std::move(details));
    } else {
      report.note(std::move(details));
    }
  }
}

const nlohmann::json* mrope_section(const ModelFolder& model) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const nlohmann::json* rope = model.effective(key);
    if (rope != nullptr && rope->is_object() && rope->contains("mrope_section")) {
      return &rope->at("mrope_section");
    }
  }
  return nullptr;
}

bool mrope_differs(const Context& context) {
  if (context.merged.model_type().empty()) {
    return false;
  }
  const nlohmann::json* before = mrope_section(*context.base);
  const nlohmann::json* after = mrope_section(context.merged);
  return before != nullptr && (after == nullptr || *after != *before);
}

void mrope(const Context& context, Reporter& report) {
  if (mrope_differs(context)) {
    const nlohmann::json* after = mrope_section(context.merged);
    report.error({.subject = "config.json: rope_scaling.mrope_section",
                  .message = "the axes of the image positions are not the base's: images and text "
                             "are placed wrongly",
                  .expected = mrope_section(*context.base)->dump(),
                  .actual = after == nullptr ? "no such key" : after->dump(),
                  .edits = restore(context, is_rope_key)});
  }
}

/// Newer transformers write the type "mrope" as "default".
void mrope_type(const Context& context, Reporter& report) {
  if (context.server->mrope_default.supported || mrope_section(context.merged) == nullptr) {
    return;
  }
  for (const ConfigLevel& level : context.merged.text_levels()) {
    const nlohmann::json* rope = level.find("rope_scaling");
    if (rope == nullptr || !rope->is_object() || !rope->contains("mrope_section")) {
      continue;
    }
    const auto type = rope->find("type");
    if (type != rope->end() && *type == "mrope") {
      continue;
    }
    std::vector<std::string> path = level.path_to("rope_scaling");
    path.emplace_back("type");
    report.warning({.subject = "config.json: " + level.key("rope_scaling.type"),
                    .message = context.server->name + ": " + context.server->mrope_default.says,
                    .expected = "\"type\": \"mrope\" for older releases",
                    .actual = type == rope->end() ? "no such key" : type->dump(),
                    .edits = {set_key("config.json", path, "mrope")}});
  }
}

void arithmetic(const Context& context, Reporter& report) {
  const ModelFolder& merged = context.merged;
  const ModelFolder& base = *context.base;
  if (different_thetas(context) || mrope_differs(context)) {
    return;  // their own rules; what else differs shows once that is repaired
  }
  for (const DepartedTensor& departed : departures(context)) {
    if (departed.kind == Departure::kMissing || departed.kind == Departure::kShape ||
        departed.kind == Departure::kUnexpected || departed.kind == Departure::kVision) {
      return;  // config and tensors are of different models: the tensor rules say so
    }
  }
  std::vector<std::string> keys;
  const bool known = merged.arithmetic() != nullptr && base.arithmetic() != nullptr;
  if (known) {
    ModelConfig after = *merged.config;
    after.tie_word_embeddings = base.config->tie_word_embeddings;  // head.*
    if (same_arithmetic(*base.config, after)) {
      return;
    }
  }
  for (const ConfigDifference& difference : config_differences(base, merged)) {
    const std::string_view key = difference.key;
    const bool of_list = changes_arithmetic(key.substr(key.rfind('.') + 1)) ||
                         is_rope_key(key.substr(0, key.find('.'))) ||
                         key.find("rope_") != std::string_view::npos;
    // Another generation's spelling is judged only where the table can read it.
    const bool both = difference.base && difference.merged;
    if (difference.file == "config.json" && of_list && (both || merged.arithmetic() != nullptr)) {
      keys.push_back(difference.key);
    }
  }
  if (keys.empty() && !known) {
    return;
  }
  report.error({.subject = "config.json",
                .message = "merged's config describes another computation than base's",
                .expected = "base's values",
                .actual = "different: " + listed(keys, 8),
                .edits = restore(context, [](std::string_view key) {
                  return is_rope_key(key) || changes_arithmetic(key);
                })});
}

void lengths(const Context& context, Reporter& report) {
  for (const ConfigLevel& level : context.merged.text_levels()) {
    const nlohmann::json* after = level.find("max_position_embeddings");
    const nlohmann::json* before =
        value_at(*context.base, level.path_to("max_position_embeddings"));
    if (after == nullptr || before == nullptr || *after == *before) {
      continue;
    }
    report.warning(
        {.subject = "config.json: " + level.key("max_position_embeddings"),
         .message = "the context length is not the base's: set by the trainer, or an "
                    "extension that was meant",
         .expected = before->dump(),
         .actual = after->dump(),
         .edits = {set_key("config.json", level.path_to("max_position_embeddings"), *before)}});
  }
}

constexpr auto kConfigRules = std::to_array<Rule>({
    {.id = "config.incomplete",
     .catalogue = "F49",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "A stub, or a key that the architecture needs is missing or of another kind.",
     .fix = "take the key from the base",
     .check = incomplete},
    {.id = "config.use-cache",
     .catalogue = "F49",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "Training switches the cache off; serving without it is many times slower.",
     .fix = "set use_cache to true",
     .check = use_cache},
    {.id = "config.float16-overflow",
     .catalogue = "F31",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "The family's activations do not fit float16, whatever the weights.",
     .fix = "merge and store in bfloat16: mergegauge merge --dtype bf16",
     .check = float16},
    {.id = "config.unread-key",
     .catalogue = "",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "A key that was not read is a computation that was not done.",
     .fix = "take the key from the base, or --accept-key it",
     .check = unread_keys},
    {.id = "config.rope-theta",
     .catalogue = "F47",
     .severity = Severity::kError,
     .needs = Needs::kBase,
     .why = "Another base of the rotary embedding turns every position by other angles.",
     .fix = "restore the base's rope keys",
     .check = rope_theta},
    {.id = "config.rope-form",
     .catalogue = "F47",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "Readers of the older form take 10000 for rope_theta without a warning.",
     .fix = "write rope_theta in both places",
     .check = rope_form},
    {.id = "config.mrope",
     .catalogue = "F46",
     .severity = Severity::kError,
     .needs = Needs::kBase,
     .why = "Positions of images need the sections that the base was trained with.",
     .fix = "restore the base's rope keys",
     .check = mrope},
    {.id = "config.mrope-type",
     .catalogue = "F46",
     .severity = Severity::kWarning,
     .needs = Needs::kServer,
     .why = "Older servers know M-RoPE by this name alone.",
     .fix = "set rope_scaling.type to \"mrope\"",
     .check = mrope_type},
    {.id = "config.arithmetic-differs",
     .catalogue = "F48",
     .severity = Severity::kError,
     .needs = Needs::kBase,
     .why = "A trainer patched the config: long inputs collapse, short prompts hide it.",
     .fix = "restore the keys from the base",
     .check = arithmetic},
    {.id = "config.length",
     .catalogue = "F48",
     .severity = Severity::kWarning,
     .needs = Needs::kBase,
     .why = "Servers cut prompts at this length.",
     .fix = "restore max_position_embeddings from the base, unless the extension was meant",
     .check = lengths},
});

}  // namespace

std::span<const Rule> config_rules() {
  return kConfigRules;
}

}  // namespace mg::lint
