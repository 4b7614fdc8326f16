#include "harness/lint/config_diff.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>

#include "harness/io/digest.h"

namespace mg::lint {
namespace {

constexpr auto kFiles = std::to_array<std::string_view>(
    {"config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json",
     "added_tokens.json", "preprocessor_config.json", "processor_config.json",
     "video_preprocessor_config.json", "chat_template.json"});
// Compared as wholes: text, or too large to show key by key.
constexpr auto kWhole =
    std::to_array<std::string_view>({"chat_template.jinja", "tokenizer.json", "tokenizer.model"});

// Written by every save or naming where a model came from; nothing is computed from them.
constexpr auto kHarmless = std::to_array<std::string_view>(
    {"transformers_version", "_name_or_path", "torch_dtype", "dtype", "use_cache",
     "unsloth_version", "unsloth_fixed", "_commit_hash", "name_or_path", "_from_model_config"});

constexpr auto kArithmetic = std::to_array<std::string_view>({"attention_bias",
                                                              "attention_multiplier",
                                                              "attn_logit_softcapping",
                                                              "embedding_multiplier",
                                                              "final_logit_softcapping",
                                                              "head_dim",
                                                              "hidden_act",
                                                              "hidden_activation",
                                                              "layer_norm_eps",
                                                              "layer_norm_epsilon",
                                                              "layer_types",
                                                              "logits_scaling",
                                                              "max_window_layers",
                                                              "mlp_bias",
                                                              "norm_topk_prob",
                                                              "num_attention_heads",
                                                              "num_experts_per_tok",
                                                              "num_key_value_heads",
                                                              "query_pre_attn_scalar",
                                                              "residual_multiplier",
                                                              "rms_norm_eps",
                                                              "sliding_window",
                                                              "sliding_window_pattern",
                                                              "use_qk_norm",
                                                              "use_sliding_window",
                                                              "activation_function",
                                                              "scale_attn_weights",
                                                              "fullatt_block_indexes",
                                                              "image_token_id",
                                                              "num_heads",
                                                              "patch_size",
                                                              "spatial_merge_size",
                                                              "temporal_patch_size",
                                                              "tokens_per_second",
                                                              "video_token_id",
                                                              "vision_end_token_id",
                                                              "vision_start_token_id",
                                                              "window_size"});
constexpr auto kRope = std::to_array<std::string_view>(
    {"original_max_position_embeddings", "partial_rotary_factor", "rope_local_base_freq",
     "rope_parameters", "rope_scaling", "rope_theta", "rope_type"});

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

using Leaves = std::map<std::string, std::string>;

void collect(const nlohmann::json& value, const std::string& path, Leaves& leaves) {
  if (!value.is_object()) {
    leaves[path] = value.dump();
    return;
  }
  for (const auto& [key, child] : value.items()) {
    if (key == "quantization_config" && !child.is_null()) {
      leaves[path.empty() ? key : path + "." + key] = "{...}";  // one key, whatever is in it
    } else {
      collect(child, path.empty() ? key : path + "." + key, leaves);
    }
  }
}

Leaves leaves_of(const ModelFolder& folder, std::string_view file) {
  Leaves leaves;
  if (const nlohmann::json* json = folder.json(file)) {
    collect(*json, "", leaves);
  }
  return leaves;
}

std::string_view last_part(std::string_view key) {
  return key.substr(key.rfind('.') + 1);
}

class Classes {
 public:
  Classes(const ModelFolder& base, const ModelFolder& merged) : base_(base), merged_(merged) {
    known_ = base.arithmetic() != nullptr && merged.arithmetic() != nullptr;
    same_ = known_ && same_arithmetic(*base.config, *merged.config);
  }

  std::string of(std::string_view file, const std::string& key) const {
    const std::string_view last = last_part(key);
    if (contains(kHarmless, last)) {
      return "expected";
    }
    if (last == "quantization_config") {
      return "breaking";
    }
    if (file != "config.json") {
      return "suspicious";
    }
    if (!known_) {
      const std::string_view first = std::string_view(key).substr(0, key.find('.'));
      return changes_arithmetic(last) || is_rope_key(last) || is_rope_key(first) ? "breaking"
                                                                                 : "suspicious";
    }
    if (is_unread(key)) {
      return "breaking";
    }
    return same_ ? "expected" : "breaking";
  }

 private:
  bool is_unread(const std::string& key) const {
    for (const ModelFolder* folder : {&base_, &merged_}) {
      const std::vector<std::string>& keys = folder->config->unknown_keys;
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) {
        return true;
      }
    }
    return false;
  }

  const ModelFolder& base_;
  const ModelFolder& merged_;
  bool known_ = false;
  bool same_ = false;
};

std::optional<std::string> whole(const ModelFolder& folder, std::string_view file) {
  if (!folder.has_file(file)) {
    return std::nullopt;
  }
  return nlohmann::json("sha256:" + digest_file(folder.scan.path / file).sha256.substr(0, 16))
      .dump();
}

auto arithmetic_fields(const ModelConfig& c) {
  return std::tie(c.model_type, c.hidden_size, c.intermediate_size, c.num_hidden_layers,
                  c.num_attention_heads, c.num_key_value_heads, c.head_dim, c.norm, c.norm_eps,
                  c.post_norms, c.qk_norm, c.activation, c.gated_mlp, c.tie_word_embeddings,
                  c.attention_scale, c.attention_softcap, c.final_softcap, c.num_experts,
                  c.num_experts_per_tok, c.moe_intermediate_size, c.norm_topk_prob, c.ropes,
                  c.vision);
}

auto layer_fields(const LayerConfig& layer) {
  return std::tie(layer.sliding_window, layer.rope, layer.use_rope, layer.moe);
}

}  // namespace

bool changes_arithmetic(std::string_view key) {
  return contains(kArithmetic, key);
}

bool is_rope_key(std::string_view key) {
  return contains(kRope, key);
}

bool same_arithmetic(const ModelConfig& left, const ModelConfig& right) {
  return arithmetic_fields(left) == arithmetic_fields(right) &&
         std::equal(left.layers.begin(), left.layers.end(), right.layers.begin(),
                    right.layers.end(), [](const LayerConfig& a, const LayerConfig& b) {
                      return layer_fields(a) == layer_fields(b);
                    });
}

std::vector<ConfigDifference> config_differences(const ModelFolder& base,
                                                 const ModelFolder& merged) {
  const Classes classes(base, merged);
  std::vector<ConfigDifference> differences;
  for (const std::string_view file : kFiles) {
    const Leaves before = leaves_of(base, file);
    const Leaves after = leaves_of(merged, file);
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
                             .difference_class = classes.of(file, key)});
    }
  }
  for (const std::string_view file : kWhole) {
    const std::optional<std::string> old_text = whole(base, file);
    const std::optional<std::string> new_text = whole(merged, file);
    if (old_text != new_text) {
      differences.push_back({.file = std::string(file),
                             .key = "(whole file)",
                             .base = old_text,
                             .merged = new_text,
                             .difference_class = "suspicious"});
    }
  }
  return differences;
}

}  // namespace mg::lint
