#include "harness/model/rope_config.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"

namespace mg {
namespace {

using Kind = RopeConfig::Kind;

constexpr std::array<std::string_view, 6> kRopeTypes = {"default", "linear",   "dynamic",
                                                        "yarn",    "longrope", "llama3"};

void note_leftovers(const ConfigReader& reader, ModelConfig& config) {
  ConfigReader::Leftovers left = reader.leftovers({});
  config.unknown_keys.insert(config.unknown_keys.end(), left.unknown.begin(), left.unknown.end());
  config.neutral_keys.insert(config.neutral_keys.end(), left.neutral.begin(), left.neutral.end());
}

// Two keys that say the same thing must agree: readers of different generations would compute
// different models.
void require_agreement(const ConfigReader& one, std::string_view one_key,
                       const nlohmann::json& one_value, const ConfigReader& other,
                       std::string_view other_key, const nlohmann::json& other_value) {
  if (one_value == other_value) {
    return;
  }
  throw Error(
      {.code = "config.conflict",
       .what = "two keys that mean the same disagree",
       .where = one.where(one_key),
       .expected = other_value.dump() + " as in " + other.where(other_key),
       .actual = one_value.dump(),
       .hint =
           "readers of different versions compute different models from this file; take the rope "
           "keys from the base model"});
}

// Files written for readers of both generations carry both objects; rope_theta is in the new one
// alone.
void require_same_rope(const ConfigReader& old_form, const ConfigReader& new_form) {
  for (const auto& [key, value] : old_form.raw().items()) {
    if (value.is_null()) {
      continue;
    }
    const std::string other = key == "type" && !new_form.contains("type") ? "rope_type" : key;
    const nlohmann::json other_value =
        new_form.contains(other) ? new_form.raw().at(other) : nlohmann::json();
    require_agreement(old_form, key, value, new_form, other, other_value);
  }
}

double positive(ConfigReader& reader, std::string_view key, std::optional<double> fallback) {
  const std::optional<double> value = reader.number(key);
  if (!value && !fallback) {
    reader.fail_missing(key, "a positive number");
  }
  const double result = value ? *value : *fallback;
  if (!(result > 0.0) || !std::isfinite(result)) {
    reader.fail_unsupported(key, "a positive number",
                            "take the value from the base model's config.json");
  }
  return result;
}

Kind rope_kind(ConfigReader& rope, const RopeRules& rules) {
  // "rope_type" wins over the legacy "type"; Qwen2-VL files carry both ("default" and "mrope").
  const std::optional<std::string> legacy = rope.text("type");
  const std::string type = rope.text("rope_type").value_or(legacy.value_or("default"));
  if (rules.mrope && (type == "mrope" || type == "default")) {
    return Kind::kMrope;
  }
  if (rules.longrope_alias && (type == "su" || type == "yarn")) {
    return Kind::kLongRope;
  }
  constexpr std::array<Kind, 6> kKinds = {Kind::kDefault, Kind::kLinear,   Kind::kDynamic,
                                          Kind::kYarn,    Kind::kLongRope, Kind::kLlama3};
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (type == kRopeTypes[i]) {
      return kKinds[i];
    }
  }
  rope.fail_unknown(rope.has_value("rope_type") ? "rope_type" : "type", type, kRopeTypes);
}

// Yarn's temperature, transformers _compute_yarn_parameters.get_mscale.
double yarn_mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

void read_yarn(ConfigReader& rope, const ModelConfig& config, RopeConfig& out) {
  const double implied = static_cast<double>(config.max_position_embeddings) /
                         static_cast<double>(out.original_max_position_embeddings);
  out.factor = positive(rope, "factor", implied);
  // `or 32`, `or 1` in the reference: zero reads as absent.
  const double beta_fast = rope.number_or("beta_fast", 0.0);
  const double beta_slow = rope.number_or("beta_slow", 0.0);
  out.beta_fast = beta_fast != 0.0 ? beta_fast : 32.0;
  out.beta_slow = beta_slow != 0.0 ? beta_slow : 1.0;
  out.mscale = rope.number_or("mscale", 0.0);
  out.mscale_all_dim = rope.number_or("mscale_all_dim", 0.0);
  out.truncate = rope.boolean_or("truncate", true);
  if (const std::optional<double> given = rope.number("attention_factor")) {
    out.attention_factor = *given;
  } else if (out.mscale != 0.0 && out.mscale_all_dim != 0.0) {
    out.attention_factor =
        yarn_mscale(out.factor, out.mscale) / yarn_mscale(out.factor, out.mscale_all_dim);
  } else {
    out.attention_factor = yarn_mscale(out.factor, 1.0);
  }
}

// The length before scaling.  Where the class keeps it beside the rope object, that one wins, even
// by its default (standardize_rope_params).
std::int64_t original_length(ConfigReader& text, ConfigReader& rope, const ModelConfig& config,
                             const RopeRules& rules) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  const std::int64_t inside = rope.dimension_or(kKey, config.max_position_embeddings);
  if (!rules.class_original_length) {
    return inside;
  }
  const std::int64_t outside = text.dimension_or(kKey, *rules.class_original_length);
  if (rope.has_value(kKey)) {
    require_agreement(rope, kKey, inside, text, kKey, outside);
  }
  return outside;
}

void read_longrope(ConfigReader& rope, const ModelConfig& config, RopeConfig& out) {
  const auto original = static_cast<double>(out.original_max_position_embeddings);
  const double implied = static_cast<double>(config.max_position_embeddings) / original;
  out.factor = positive(rope, "factor", implied);
  if (const std::optional<double> given = rope.number("attention_factor")) {
    out.attention_factor = *given;
  } else {
    out.attention_factor =
        out.factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(out.factor) / std::log(original));
  }
  const auto pairs = static_cast<std::size_t>(
      static_cast<std::int64_t>(static_cast<double>(config.head_dim) * out.partial_rotary_factor) /
      2);
  for (const auto& [key, target] :
       {std::pair{"short_factor", &out.short_factor}, std::pair{"long_factor", &out.long_factor}}) {
    std::optional<std::vector<double>> factors = rope.numbers(key);
    if (!factors) {
      rope.fail_missing(key, "an array of " + std::to_string(pairs) + " numbers");
    }
    if (factors->size() != pairs) {
      rope.fail_unsupported(key, std::to_string(pairs) + " numbers, half of the rotated head",
                            "take the value from the base model's config.json");
    }
    *target = std::move(*factors);
  }
}

void read_llama3(ConfigReader& rope, RopeConfig& out) {
  out.factor = positive(rope, "factor", std::nullopt);
  out.low_freq_factor = positive(rope, "low_freq_factor", std::nullopt);
  out.high_freq_factor = positive(rope, "high_freq_factor", std::nullopt);
  if (!(out.high_freq_factor > out.low_freq_factor)) {
    rope.fail_unsupported("high_freq_factor", "above low_freq_factor",
                          "take the value from the base model's config.json");
  }
}

void read_mrope(ConfigReader& rope, const ModelConfig& config, RopeConfig& out) {
  std::optional<std::vector<std::int64_t>> section = rope.integers("mrope_section");
  if (!section) {
    rope.fail_missing("mrope_section", "three sizes whose sum is half of the head");
  }
  std::int64_t sum = 0;
  bool sane = section->size() == 3;
  for (const std::int64_t size : *section) {
    sane = sane && size >= 0 && size <= config.head_dim;
    sum += sane ? size : 0;
  }
  if (!sane || sum * 2 != config.head_dim) {
    rope.fail_unsupported("mrope_section", "three sizes whose sum is half of the head",
                          "take the value from the base model's config.json");
  }
  out.mrope_section = std::move(*section);
}

void read_kind(ConfigReader& text, ConfigReader& rope, const ModelConfig& config,
               const RopeRules& rules, RopeConfig& out) {
  switch (out.kind) {
    case Kind::kDefault:
    case Kind::kAxial:  // no text has it
      return;
    case Kind::kLinear:
      out.factor = positive(rope, "factor", std::nullopt);
      return;
    case Kind::kDynamic:
      out.factor = positive(rope, "factor", std::nullopt);
      out.original_max_position_embeddings = config.max_position_embeddings;
      return;
    case Kind::kMrope:
      return;
    case Kind::kYarn:
      out.original_max_position_embeddings = original_length(text, rope, config, rules);
      read_yarn(rope, config, out);
      return;
    case Kind::kLlama3:
      out.original_max_position_embeddings = original_length(text, rope, config, rules);
      read_llama3(rope, out);
      return;
    case Kind::kLongRope:
      out.original_max_position_embeddings = original_length(text, rope, config, rules);
      read_longrope(rope, config, out);
      return;
  }
}

RopeConfig read_one(ConfigReader& text, ConfigReader& rope, double theta, double partial,
                    const ModelConfig& config, const RopeRules& rules) {
  RopeConfig out;
  out.theta = positive(rope, "rope_theta", theta);
  out.partial_rotary_factor = rope.number_or("partial_rotary_factor", partial);
  if (out.partial_rotary_factor != 1.0 && !rules.partial) {
    rope.fail_unsupported("partial_rotary_factor", "1: this family rotates whole heads",
                          "the reference implementation ignores the key for this family");
  }
  if (!(out.partial_rotary_factor > 0.0 && out.partial_rotary_factor <= 1.0)) {
    rope.fail_unsupported("partial_rotary_factor", "above 0 and at most 1",
                          "take the value from the base model's config.json");
  }
  out.kind = rope_kind(rope, rules);
  read_kind(text, rope, config, rules, out);
  if (rules.mrope) {  // whatever the frequencies: Qwen2.5-VL's long contexts are yarn with sections
    read_mrope(rope, config, out);
  }
  if (!(out.attention_factor > 0.0) || !std::isfinite(out.attention_factor)) {
    rope.fail_unsupported("attention_factor", "a positive number, given or derived",
                          "take the rope keys from the base model's config.json");
  }
  return out;
}

double root_partial(ConfigReader& text, const RopeRules& rules) {
  const double partial = text.number_or("partial_rotary_factor", 1.0);
  if (partial != 1.0 && !rules.partial) {
    text.fail_unsupported("partial_rotary_factor", "1: this family rotates whole heads",
                          "the reference implementation ignores the key for this family");
  }
  return partial;
}

}  // namespace

RopeConfig read_rope(ConfigReader& text, ModelConfig& config, const RopeRules& rules) {
  const double theta = positive(text, "rope_theta", rules.default_theta);
  const double partial = root_partial(text, rules);
  std::optional<ConfigReader> old_form = text.object("rope_scaling");
  std::optional<ConfigReader> new_form = text.object("rope_parameters");
  if (old_form && new_form) {
    require_same_rope(*old_form, *new_form);
  }
  std::optional<ConfigReader>& rope = new_form ? new_form : old_form;
  if (!rope) {
    const nlohmann::json empty = nlohmann::json::object();
    ConfigReader nothing(empty, text.where("rope_parameters"));
    if (rules.mrope) {
      text.fail_missing(text.contains("rope_scaling") ? "rope_scaling" : "rope_parameters",
                        "an object with mrope_section");
    }
    return read_one(text, nothing, theta, partial, config, rules);
  }
  if (rope->contains("full_attention") || rope->contains("sliding_attention")) {
    rope->fail_unsupported("full_attention", "one rope for all layers",
                           "this family has no ropes by layer type");
  }
  if (text.has_value("rope_theta") && rope->has_value("rope_theta")) {
    require_agreement(text, "rope_theta", text.raw().at("rope_theta"), *rope, "rope_theta",
                      rope->raw().at("rope_theta"));
  }
  RopeConfig out = read_one(text, *rope, theta, partial, config, rules);
  note_leftovers(*rope, config);
  return out;
}

std::vector<RopeConfig> read_gemma3_ropes(ConfigReader& text, ModelConfig& config) {
  const RopeRules rules;
  const nlohmann::json empty = nlohmann::json::object();
  const double global_theta = positive(text, "rope_theta", 1'000'000.0);
  const double local_theta = positive(text, "rope_local_base_freq", 10'000.0);
  const double partial = root_partial(text, rules);
  std::optional<ConfigReader> nested = text.object("rope_parameters");
  std::optional<ConfigReader> scaling = text.object("rope_scaling");
  std::optional<ConfigReader> full;
  std::optional<ConfigReader> sliding;
  if (nested) {
    if (!nested->contains("full_attention") && !nested->contains("sliding_attention")) {
      text.fail_unsupported("rope_parameters",
                            "an object for full_attention and one for sliding_attention",
                            "the reference implementation ignores a flat object here");
    }
    full = nested->object("full_attention");
    sliding = nested->object("sliding_attention");
    if (scaling && full) {
      require_same_rope(*scaling, *full);
    }
    note_leftovers(*nested, config);
  } else {
    full = std::move(scaling);  // scaling concerns the global layers alone
  }
  std::vector<RopeConfig> ropes;
  for (const auto& [reader, theta] :
       {std::pair{&full, global_theta}, std::pair{&sliding, local_theta}}) {
    ConfigReader nothing(empty, text.where("rope_parameters"));
    ConfigReader& rope = *reader ? **reader : nothing;
    ropes.push_back(read_one(text, rope, theta, partial, config, rules));
    note_leftovers(rope, config);
  }
  return ropes;
}

}  // namespace mg
