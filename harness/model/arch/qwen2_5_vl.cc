// Qwen2.5-VL: Qwen2's text model and a vision tower with RMS norms and gated MLPs.  Names and
// shapes of the Hub's files (model.layers, visual.), which vLLM's loader asks for.  transformers:
// models/qwen2_5_vl/configuration_qwen2_5_vl.py, modeling_qwen2_5_vl.py; vLLM:
// model_executor/models/qwen2_5_vl.py.
#include "harness/model/arch/header_rules.h"
#include "harness/model/arch/qwen_vision.h"

namespace mg {
namespace {

constexpr std::array kNames =
    std::to_array<std::string_view>({"Qwen2_5_VLForConditionalGeneration"});

constexpr std::array kVisionRules = std::to_array<TensorRule>({
    {Role::kVision, "visual.blocks.{v}.norm1.weight", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.norm2.weight", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.mlp.gate_proj.weight", "v.mlp, v.embed", Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.mlp.gate_proj.bias", "v.mlp", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.mlp.up_proj.weight", "v.mlp, v.embed", Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.mlp.up_proj.bias", "v.mlp", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.mlp.down_proj.weight", "v.embed, v.mlp", Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.mlp.down_proj.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.merger.ln_q.weight", "v.embed", Layout::kVector},
    {Role::kVision, "visual.merger.mlp.0.weight", "v.merged, v.merged", Layout::kLinear},
    {Role::kVision, "visual.merger.mlp.0.bias", "v.merged", Layout::kVector},
    {Role::kVision, "visual.merger.mlp.2.weight", "v.out, v.merged", Layout::kLinear},
    {Role::kVision, "visual.merger.mlp.2.bias", "v.out", Layout::kVector},
});

constexpr auto kRules =
    joined(kQwenVisionRules, kVisionRules, kOuterRules, kAttentionRules, kDenseMlpRules);

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config =
      read_sizes_only(file, {.num_key_value_heads = 8, .max_position_embeddings = 32768});
  config.attention_bias = true;
  read_qwen_vision(file, config,
                   {.embed_dim = 1280, .intermediate_size = 3420, .patch_size = 14, .depth = 32});
  return config;
}

}  // namespace

const ArchSpec kQwen25VlArch = {.model_type = "qwen2_5_vl",
                                .architectures = kNames,
                                .rules = kRules,
                                .read_config = read_config,
                                .buffers = kRotaryBuffers,
                                .forward = false};

}  // namespace mg
