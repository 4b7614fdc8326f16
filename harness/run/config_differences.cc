#include "harness/run/config_differences.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>

#include "harness/io/json_file.h"

namespace mg {
namespace {

constexpr std::array<std::string_view, 5> kFiles{"config.json", "generation_config.json",
                                                 "tokenizer_config.json", "special_tokens_map.json",
                                                 "preprocessor_config.json"};

// Written by every save or naming where a model came from; nothing is computed from them.
constexpr std::array<std::string_view, 9> kHarmless{
    "transformers_version", "_name_or_path", "torch_dtype",  "dtype",       "use_cache",
    "unsloth_version",      "unsloth_fixed", "_commit_hash", "name_or_path"};

using Leaves = std::map<std::string, std::string>;

void collect(const nlohmann::json& value, const std::string& path, Leaves& leaves) {
  if (!value.is_object()) {
    leaves[path] = value.dump();
    return;
  }
  for (const auto& [key, child] : value.items()) {
    collect(child, path.empty() ? key : path + "." + key, leaves);
  }
}

Leaves leaves_of(const std::filesystem::path& file) {
  Leaves leaves;
  if (std::filesystem::exists(file)) {
    collect(read_json(file), "", leaves);
  }
  return leaves;
}

/// Keys under quantization_config count as that one key.
void fold_quantization(Leaves& leaves) {
  Leaves folded;
  for (auto& [key, value] : leaves) {
    const std::size_t at = key.find("quantization_config");
    folded[at == std::string::npos ? key : key.substr(0, at) + "quantization_config"] =
        at == std::string::npos ? value : "{...}";
  }
  leaves = std::move(folded);
}

std::string_view last_part(std::string_view key) {
  return key.substr(key.rfind('.') + 1);
}

bool is_listed(const std::vector<std::string>& keys, const std::string& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

std::string class_of(std::string_view file, const std::string& key, const OpenModel& base,
                     const OpenModel& merged, bool same) {
  const std::string_view last = last_part(key);
  if (std::find(kHarmless.begin(), kHarmless.end(), last) != kHarmless.end()) {
    return "expected";
  }
  if (last == "quantization_config") {
    return "breaking";
  }
  if (file != "config.json") {
    return "suspicious";
  }
  const bool unread = is_listed(base.model.config.unknown_keys, key) ||
                      is_listed(merged.model.config.unknown_keys, key);
  if (unread) {
    return "breaking";
  }
  return same ? "expected" : "breaking";
}

bool is_packed(const ResolvedModel& model) {
  return std::any_of(model.tensors.begin(), model.tensors.end(),
                     [](const ResolvedTensor& tensor) { return tensor.quantised; });
}

Finding unread_key(const std::string& key, bool differs) {
  return {.rule = "config.unread-key",
          .catalogue = {},
          .severity = differs ? Severity::kError : Severity::kWarning,
          .command = "check",
          .subject = "config.json: " + key,
          .message = differs ? "a key that was not read differs between base and merged: a "
                               "computation that was not done"
                             : "a key that was not read has a value: a computation may be missing",
          .expected = "a key this version knows, or a neutral value",
          .actual = key,
          .fix = Fix{.automatic = false,
                     .what = "if the key is known to be harmless: --accept-key " + key}};
}

auto arithmetic_fields(const ModelConfig& c) {
  return std::tie(c.model_type, c.hidden_size, c.intermediate_size, c.num_hidden_layers,
                  c.num_attention_heads, c.num_key_value_heads, c.head_dim, c.norm, c.norm_eps,
                  c.post_norms, c.qk_norm, c.activation, c.gated_mlp, c.tie_word_embeddings,
                  c.attention_scale, c.attention_softcap, c.final_softcap, c.num_experts,
                  c.num_experts_per_tok, c.moe_intermediate_size, c.norm_topk_prob, c.ropes);
}

auto layer_fields(const LayerConfig& layer) {
  return std::tie(layer.sliding_window, layer.rope, layer.use_rope, layer.moe);
}

}  // namespace

bool same_arithmetic(const ModelConfig& left, const ModelConfig& right) {
  return arithmetic_fields(left) == arithmetic_fields(right) &&
         std::equal(left.layers.begin(), left.layers.end(), right.layers.begin(),
                    right.layers.end(), [](const LayerConfig& a, const LayerConfig& b) {
                      return layer_fields(a) == layer_fields(b);
                    });
}

std::vector<ConfigDifference> config_differences(const OpenModel& base, const OpenModel& merged) {
  const bool same = same_arithmetic(base.model.config, merged.model.config);
  std::vector<ConfigDifference> differences;
  for (const std::string_view file : kFiles) {
    Leaves before = leaves_of(base.checkpoint.folder() / file);
    Leaves after = leaves_of(merged.checkpoint.folder() / file);
    fold_quantization(before);
    fold_quantization(after);
    Leaves keys = before;
    keys.insert(after.begin(), after.end());
    for (const auto& [key, unused] : keys) {
      const auto old_value = before.find(key);
      const auto new_value = after.find(key);
      if (old_value != before.end() && new_value != after.end() &&
          old_value->second == new_value->second) {
        continue;
      }
      const auto text = [](const Leaves& leaves, Leaves::const_iterator found) {
        return found == leaves.end() ? std::optional<std::string>() : found->second;
      };
      differences.push_back({.file = std::string(file),
                             .key = key,
                             .base = text(before, old_value),
                             .merged = text(after, new_value),
                             .difference_class = class_of(file, key, base, merged, same)});
    }
  }
  return differences;
}

std::vector<Finding> config_findings(const OpenModel& base, const OpenModel& merged,
                                     const std::vector<std::string>& accepted) {
  std::vector<Finding> findings;
  const Leaves before = leaves_of(base.checkpoint.folder() / "config.json");
  const Leaves after = leaves_of(merged.checkpoint.folder() / "config.json");
  std::vector<std::string> unread = base.model.config.unknown_keys;
  for (const std::string& key : merged.model.config.unknown_keys) {
    if (!is_listed(unread, key)) {
      unread.push_back(key);
    }
  }
  for (const std::string& key : unread) {
    if (!is_listed(accepted, key)) {
      const auto value = [&](const Leaves& leaves) {
        const auto found = leaves.find(key);
        return found == leaves.end() ? std::string() : found->second;
      };
      findings.push_back(unread_key(key, value(before) != value(after)));
    }
  }
  if (!same_arithmetic(base.model.config, merged.model.config)) {
    std::string keys;
    for (const ConfigDifference& difference : config_differences(base, merged)) {
      if (difference.file == "config.json" && difference.difference_class == "breaking") {
        keys += (keys.empty() ? "" : ", ") + difference.key;
      }
    }
    findings.push_back({.rule = "config.arithmetic-differs",
                        .catalogue = {"F48"},
                        .severity = Severity::kError,
                        .command = "check",
                        .subject = "config.json",
                        .message = "merged's config describes another computation than base's",
                        .expected = "base's values",
                        .actual = "different: " + keys,
                        .fix = Fix{.automatic = false, .what = "restore the keys from base"}});
  }
  const bool plain = !is_packed(merged.model);
  if (!merged.model.config.quant_method.empty() && plain) {
    findings.push_back(
        {.rule = "config.leftover-quantization",
         .catalogue = {"F01"},
         .severity = Severity::kError,
         .command = "check",
         .subject = "config.json: quantization_config",
         .message = "the weights are plain but config.json still declares " +
                    merged.model.config.quant_method,
         .expected = "key absent",
         .actual = merged.model.config.quant_method,
         .fix = Fix{.automatic = false, .what = "delete quantization_config from config.json"}});
  }
  return findings;
}

}  // namespace mg
