// Qwen3-VL, dense and with experts: Qwen3's text model and a vision tower whose features also enter
// the first text layers ("deepstack").  Names and shapes of the Hub's files, which vLLM's loader
// asks for.  transformers: models/qwen3_vl/, models/qwen3_vl_moe/, conversion_mapping
// "qwen3_vl_moe"; vLLM: model_executor/models/qwen3_vl.py, qwen3_vl_moe.py.
#include "harness/model/arch/header_rules.h"
#include "harness/model/arch/qwen_vision.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"Qwen3VLForConditionalGeneration"});
constexpr std::array kMoeNames =
    std::to_array<std::string_view>({"Qwen3VLMoeForConditionalGeneration"});

NumberRange deepstack(const ModelConfig& config) {
  return {0, config.sizes.at("v.deepstack")};
}

constexpr std::array kVisionRules = std::to_array<TensorRule>({
    {Role::kVision, "visual.patch_embed.proj.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.pos_embed.weight", "v.positions, v.embed", Layout::kEmbedding},
    {Role::kVision, "visual.blocks.{v}.norm1.weight", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.norm1.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.norm2.weight", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.norm2.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.mlp.linear_fc1.weight", "v.mlp, v.embed", Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.mlp.linear_fc1.bias", "v.mlp", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.mlp.linear_fc2.weight", "v.embed, v.mlp", Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.mlp.linear_fc2.bias", "v.embed", Layout::kVector},
    // The last merger norms single patches, the others what they have put side by side.
    {Role::kVision, "visual.merger.norm.weight", "v.embed", Layout::kVector},
    {Role::kVision, "visual.merger.norm.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.merger.linear_fc1.weight", "v.merged, v.merged", Layout::kLinear},
    {Role::kVision, "visual.merger.linear_fc1.bias", "v.merged", Layout::kVector},
    {Role::kVision, "visual.merger.linear_fc2.weight", "v.out, v.merged", Layout::kLinear},
    {Role::kVision, "visual.merger.linear_fc2.bias", "v.out", Layout::kVector},
    {Role::kVision, "visual.deepstack_merger_list.{n}.norm.weight", "v.merged", Layout::kVector,
     nullptr, false, deepstack},
    {Role::kVision, "visual.deepstack_merger_list.{n}.norm.bias", "v.merged", Layout::kVector,
     nullptr, false, deepstack},
    {Role::kVision, "visual.deepstack_merger_list.{n}.linear_fc1.weight", "v.merged, v.merged",
     Layout::kLinear, nullptr, false, deepstack},
    {Role::kVision, "visual.deepstack_merger_list.{n}.linear_fc1.bias", "v.merged", Layout::kVector,
     nullptr, false, deepstack},
    {Role::kVision, "visual.deepstack_merger_list.{n}.linear_fc2.weight", "v.out, v.merged",
     Layout::kLinear, nullptr, false, deepstack},
    {Role::kVision, "visual.deepstack_merger_list.{n}.linear_fc2.bias", "v.out", Layout::kVector,
     nullptr, false, deepstack},
});

constexpr std::array kMoeRules = std::to_array<TensorRule>({
    {Role::kRouter, "model.layers.{l}.mlp.gate.weight", "E, H", Layout::kLinear, is_moe},
    // [E, in, out] on the Hub and in vLLM's loader; transformers 5 also writes [E, out, in].
    {Role::kOther, "model.layers.{l}.mlp.experts.gate_up_proj", "E, H, 2*M", Layout::kOther, is_moe,
     false, nullptr, "E, 2*M, H"},
    {Role::kOther, "model.layers.{l}.mlp.experts.down_proj", "E, M, H", Layout::kOther, is_moe,
     false, nullptr, "E, H, M"},
});

constexpr auto kRules = joined(kQwenVisionRules, kVisionRules, kOuterRules, kAttentionRules,
                               kHeadNormRules, kDenseMlpRules);
constexpr auto kAllMoeRules = joined(kQwenVisionRules, kVisionRules, kOuterRules, kAttentionRules,
                                     kHeadNormRules, kDenseMlpRules, kMoeRules);

ModelConfig read_both(ConfigFile& file) {
  ModelConfig config = read_sizes_only(
      file, {.num_key_value_heads = 32, .head_dim = 128, .max_position_embeddings = 128000});
  config.qk_norm = true;
  config.attention_bias = file.text().boolean_or("attention_bias", false);
  config.output_bias = config.attention_bias;
  ConfigReader vision = require_vision(file);
  read_qwen_vision(vision, config,
                   {.embed_dim = 1152, .intermediate_size = 4304, .patch_size = 16, .depth = 27});
  config.sizes["v.positions"] = vision.dimension_or("num_position_embeddings", 2304, kMostWidth);
  constexpr std::int64_t kClassDeepstack = 3;  // deepstack_visual_indexes = 8, 16, 24
  const auto indexes = vision.integers("deepstack_visual_indexes");
  config.sizes["v.deepstack"] =
      indexes ? std::min(static_cast<std::int64_t>(indexes->size()), kMostMembers)
              : kClassDeepstack;
  return config;
}

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  return read_both(file);
}

ModelConfig read_moe_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_both(file);
  ConfigReader& text = file.text();
  config.num_experts = read_expert_members(text, 60);
  config.moe_intermediate_size = text.dimension_or("moe_intermediate_size", 1408, kMostWidth);
  read_sparse_layers(text, config);
  return config;
}

}  // namespace

const ArchSpec kQwen3VlArch = {.model_type = "qwen3_vl",
                               .architectures = kNames,
                               .rules = kRules,
                               .read_config = read_config,
                               .buffers = kRotaryBuffers,
                               .forward = false};

const ArchSpec kQwen3VlMoeArch = {.model_type = "qwen3_vl_moe",
                                  .architectures = kMoeNames,
                                  .rules = kAllMoeRules,
                                  .read_config = read_moe_config,
                                  .buffers = kRotaryBuffers,
                                  .forward = false};

}  // namespace mg
