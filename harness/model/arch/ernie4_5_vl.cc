// ERNIE 4.5 VL with experts: those of the text and narrower ones of the images in one list, routed
// apart.  Names and shapes of the Hub's files (model_type ernie4_5_moe_vl, keys at the root) and of
// transformers' (ernie4_5_vl_moe, text_config), which are the same.  transformers:
// models/ernie4_5_vl_moe/, conversion_mapping "ernie4_5_vl_moe"; vLLM:
// model_executor/models/ernie45_vl.py, ernie45_vl_moe.py.
#include <nlohmann/json.hpp>

#include "harness/model/arch/header_rules.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>(
    {"Ernie4_5_VLMoeForConditionalGeneration", "Ernie4_5_VL_MoeForConditionalGeneration"});

bool has_bias(const ModelConfig& config, std::int64_t layer) {
  return config.mlp_bias && is_dense(config, layer);
}
bool has_shared(const ModelConfig& config, std::int64_t layer) {
  return is_moe(config, layer) && config.sizes.at("shared") > 0;
}
NumberRange vision_experts(const ModelConfig& config) {
  return {config.num_experts, config.num_experts + config.sizes.at("v.experts")};
}

constexpr std::array kMlpRules = std::to_array<TensorRule>({
    {Role::kGateBias, "model.layers.{l}.mlp.gate_proj.bias", "I", Layout::kVector, has_bias},
    {Role::kUpBias, "model.layers.{l}.mlp.up_proj.bias", "I", Layout::kVector, has_bias},
    {Role::kDownBias, "model.layers.{l}.mlp.down_proj.bias", "H", Layout::kVector, has_bias},
    // The routers lie as [in, out]; loaders turn them.
    {Role::kRouter, "model.layers.{l}.mlp.gate.weight", "H, E", Layout::kOther, is_moe},
    {Role::kOther, "model.layers.{l}.mlp.gate.weight_1", "H, v.experts", Layout::kOther, is_moe},
    {Role::kOther, "model.layers.{l}.mlp.moe_statics.e_score_correction_bias", "2, E",
     Layout::kOther, is_moe},
    {Role::kOther, "model.layers.{l}.mlp.experts.{n}.gate_proj.weight", "v.expert, H",
     Layout::kLinear, is_moe, false, vision_experts},
    {Role::kOther, "model.layers.{l}.mlp.experts.{n}.up_proj.weight", "v.expert, H",
     Layout::kLinear, is_moe, false, vision_experts},
    {Role::kOther, "model.layers.{l}.mlp.experts.{n}.down_proj.weight", "H, v.expert",
     Layout::kLinear, is_moe, false, vision_experts},
    {Role::kOther, "model.layers.{l}.mlp.shared_experts.gate_proj.weight", "shared, H",
     Layout::kLinear, has_shared},
    {Role::kOther, "model.layers.{l}.mlp.shared_experts.up_proj.weight", "shared, H",
     Layout::kLinear, has_shared},
    {Role::kOther, "model.layers.{l}.mlp.shared_experts.down_proj.weight", "H, shared",
     Layout::kLinear, has_shared},
});

constexpr std::array kVisionRules = std::to_array<TensorRule>({
    {Role::kVision, "vision_model.patch_embed.proj.weight", "v.embed, v.channels*v.patch*v.patch",
     Layout::kLinear},
    {Role::kVision, "vision_model.blocks.{v}.norm1.weight", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.blocks.{v}.norm1.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.blocks.{v}.norm2.weight", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.blocks.{v}.norm2.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.blocks.{v}.attn.qkv.weight", "3*v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_model.blocks.{v}.attn.qkv.bias", "3*v.embed", Layout::kVector},
    {Role::kVision, "vision_model.blocks.{v}.attn.proj.weight", "v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_model.blocks.{v}.attn.proj.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.blocks.{v}.mlp.fc1.weight", "v.mlp, v.embed", Layout::kLinear},
    {Role::kVision, "vision_model.blocks.{v}.mlp.fc1.bias", "v.mlp", Layout::kVector},
    {Role::kVision, "vision_model.blocks.{v}.mlp.fc2.weight", "v.embed, v.mlp", Layout::kLinear},
    {Role::kVision, "vision_model.blocks.{v}.mlp.fc2.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.ln.weight", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.ln.bias", "v.embed", Layout::kVector},
    {Role::kVision, "model.resampler_model.spatial_linear.0.weight", "r.space, r.space",
     Layout::kLinear},
    {Role::kVision, "model.resampler_model.spatial_linear.0.bias", "r.space", Layout::kVector},
    {Role::kVision, "model.resampler_model.spatial_linear.2.weight", "r.space, r.space",
     Layout::kLinear},
    {Role::kVision, "model.resampler_model.spatial_linear.2.bias", "r.space", Layout::kVector},
    {Role::kVision, "model.resampler_model.spatial_linear.3.weight", "r.space", Layout::kVector},
    {Role::kVision, "model.resampler_model.spatial_linear.3.bias", "r.space", Layout::kVector},
    {Role::kVision, "model.resampler_model.temporal_linear.0.weight", "r.space, r.time*r.space",
     Layout::kLinear},
    {Role::kVision, "model.resampler_model.temporal_linear.0.bias", "r.space", Layout::kVector},
    {Role::kVision, "model.resampler_model.temporal_linear.2.weight", "r.space, r.space",
     Layout::kLinear},
    {Role::kVision, "model.resampler_model.temporal_linear.2.bias", "r.space", Layout::kVector},
    {Role::kVision, "model.resampler_model.temporal_linear.3.weight", "r.space", Layout::kVector},
    {Role::kVision, "model.resampler_model.temporal_linear.3.bias", "r.space", Layout::kVector},
    {Role::kVision, "model.resampler_model.mlp.weight", "H, r.space", Layout::kLinear},
    {Role::kVision, "model.resampler_model.mlp.bias", "H", Layout::kVector},
    {Role::kVision, "model.resampler_model.after_norm.weight", "H", Layout::kVector},
});

constexpr auto kRules =
    joined(kVisionRules, kOuterRules, kAttentionRules, kDenseMlpRules, kExpertRules, kMlpRules);

/// A number, or one for the text's and one for the images' experts.
struct Both {
  std::int64_t text = 0;
  std::int64_t vision = 0;
};

Both read_both(ConfigReader& reader, std::string_view key, Both fallback, std::int64_t most) {
  const nlohmann::json* value = reader.find(key);
  if (value == nullptr) {
    return fallback;
  }
  const std::vector<std::int64_t> list =
      value->is_array() ? reader.integers(key).value_or(std::vector<std::int64_t>{})
                        : std::vector<std::int64_t>(2, reader.dimension(key, most));
  if (list.size() != 2 || std::min(list[0], list[1]) < 0 || std::max(list[0], list[1]) > most) {
    reader.fail_unsupported(key, "a number, or one for the text and one for the images",
                            "take the value from the base model's config.json");
  }
  return {list[0], list[1]};
}

/// Where the two kinds of experts begin and end (the Hub's keys), or a word for every layer
/// (transformers').
void read_layers(ConfigReader& text, ModelConfig& config) {
  const Both begin = read_both(text, "moe_layer_start_index", {1, 1}, kMostMembers);
  const std::int64_t last = config.num_hidden_layers - 1;
  const Both end = read_both(text, "moe_layer_end_index", {last, last}, kMostMembers);
  const std::int64_t interval = read_members(text, "moe_layer_interval", 1);
  const auto types = text.texts("mlp_layer_types");
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const auto layer = static_cast<std::int64_t>(l);
    config.layers[l].moe = types && l < types->size()
                               ? (*types)[l] == "sparse"
                               : (layer + 1) % interval == 0 &&
                                     layer >= std::min(begin.text, begin.vision) &&
                                     layer <= std::max(end.text, end.vision);
  }
}

void read_tower(ConfigFile& file, ModelConfig& config) {
  ConfigReader reader = require_vision(file);
  VisionConfig& vision = config.vision.emplace();
  vision.depth = read_members(reader, "depth", 32);
  vision.embed_dim = reader.dimension_or("hidden_size", 1280, kMostWidth);
  vision.in_channels = reader.dimension_or("in_channels", 3, kMostMembers);
  vision.patch_size = reader.dimension_or("patch_size", 14, kMostMembers);
  vision.spatial_merge_size = reader.dimension_or("spatial_merge_size", 2, kMostMembers);
  config.sizes["v.mlp"] =
      reader.has_value("intermediate_size")
          ? reader.dimension("intermediate_size", kMostWidth)
          : reader.dimension_or("mlp_ratio", 4, kMostMembers) * vision.embed_dim;
  config.sizes["r.space"] =
      vision.embed_dim * vision.spatial_merge_size * vision.spatial_merge_size;
  config.sizes["r.time"] = reader.has_value("temporal_merge_size")
                               ? reader.dimension("temporal_merge_size", kMostMembers)
                               : file.root().dimension_or("temporal_conv_size", 2, kMostMembers);
}

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_sizes_only(
      file,
      {.num_key_value_heads = 4, .max_position_embeddings = 131072, .tie_word_embeddings = true});
  ConfigReader& text = file.text();
  config.attention_bias = text.boolean_or("use_bias", false);
  config.output_bias = config.attention_bias;
  config.mlp_bias = config.attention_bias;
  const Both experts = read_both(text, "moe_num_experts", {64, 64}, kMostMembers);
  const Both widths = read_both(text, "moe_intermediate_size", {1536, 512}, kMostWidth);
  config.num_experts = experts.text;
  config.moe_intermediate_size = widths.text;
  config.sizes["v.experts"] = experts.vision;
  config.sizes["v.expert"] = widths.vision;
  config.sizes["shared"] = widths.text * text.integer("moe_num_shared_experts").value_or(2);
  read_layers(text, config);
  read_tower(file, config);
  return config;
}

}  // namespace

const ArchSpec kErnie45VlArch = {.model_type = "ernie4_5_moe_vl",
                                 .architectures = kNames,
                                 .rules = kRules,
                                 .read_config = read_config,
                                 .buffers = kRotaryBuffers,
                                 .forward = false};

const ArchSpec kErnie45VlNativeArch = {.model_type = "ernie4_5_vl_moe",
                                       .architectures = kNames,
                                       .rules = kRules,
                                       .read_config = read_config,
                                       .buffers = kRotaryBuffers,
                                       .forward = false};

}  // namespace mg
