// Qwen2-VL: Qwen2's text model with positions in three axes (M-RoPE) and a vision tower.
// transformers: models/qwen2_vl/configuration_qwen2_vl.py, modeling_qwen2_vl.py.  Names are those
// of the Hub's files (model.layers, visual.); newer generations are mapped to them (names.h).
#include "harness/model/arch/qwen_vision.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"Qwen2VLForConditionalGeneration"});

constexpr std::array kRules = std::to_array<TensorRule>({
    {Role::kPatchEmbed, "visual.patch_embed.proj.weight",
     "v.embed, v.channels, v.temporal, v.patch, v.patch", Layout::kOther},
    {Role::kInputNorm, "visual.blocks.{v}.norm1.weight", "v.embed", Layout::kVector},
    {Role::kInputNormBias, "visual.blocks.{v}.norm1.bias", "v.embed", Layout::kVector},
    {Role::kQkvProj, "visual.blocks.{v}.attn.qkv.weight", "3*v.embed, v.embed", Layout::kLinear},
    {Role::kQkvBias, "visual.blocks.{v}.attn.qkv.bias", "3*v.embed", Layout::kVector},
    {Role::kOProj, "visual.blocks.{v}.attn.proj.weight", "v.embed, v.embed", Layout::kLinear},
    {Role::kOBias, "visual.blocks.{v}.attn.proj.bias", "v.embed", Layout::kVector},
    {Role::kMlpNorm, "visual.blocks.{v}.norm2.weight", "v.embed", Layout::kVector},
    {Role::kMlpNormBias, "visual.blocks.{v}.norm2.bias", "v.embed", Layout::kVector},
    {Role::kUpProj, "visual.blocks.{v}.mlp.fc1.weight", "v.ratio*v.embed, v.embed",
     Layout::kLinear},
    {Role::kUpBias, "visual.blocks.{v}.mlp.fc1.bias", "v.ratio*v.embed", Layout::kVector},
    {Role::kDownProj, "visual.blocks.{v}.mlp.fc2.weight", "v.embed, v.ratio*v.embed",
     Layout::kLinear},
    {Role::kDownBias, "visual.blocks.{v}.mlp.fc2.bias", "v.embed", Layout::kVector},
    {Role::kMergerNorm, "visual.merger.ln_q.weight", "v.embed", Layout::kVector},
    {Role::kMergerNormBias, "visual.merger.ln_q.bias", "v.embed", Layout::kVector},
    {Role::kMergerUp, "visual.merger.mlp.0.weight",
     "v.embed*v.merge*v.merge, v.embed*v.merge*v.merge", Layout::kLinear},
    {Role::kMergerUpBias, "visual.merger.mlp.0.bias", "v.embed*v.merge*v.merge", Layout::kVector},
    {Role::kMergerDown, "visual.merger.mlp.2.weight", "H, v.embed*v.merge*v.merge",
     Layout::kLinear},
    {Role::kMergerDownBias, "visual.merger.mlp.2.bias", "H", Layout::kVector},
    {Role::kEmbedTokens, "model.embed_tokens.weight", "V, H", Layout::kEmbedding},
    {Role::kInputNorm, "model.layers.{l}.input_layernorm.weight", "H", Layout::kVector},
    {Role::kQProj, "model.layers.{l}.self_attn.q_proj.weight", "N*D, H", Layout::kLinear},
    {Role::kQBias, "model.layers.{l}.self_attn.q_proj.bias", "N*D", Layout::kVector},
    {Role::kKProj, "model.layers.{l}.self_attn.k_proj.weight", "G*D, H", Layout::kLinear},
    {Role::kKBias, "model.layers.{l}.self_attn.k_proj.bias", "G*D", Layout::kVector},
    {Role::kVProj, "model.layers.{l}.self_attn.v_proj.weight", "G*D, H", Layout::kLinear},
    {Role::kVBias, "model.layers.{l}.self_attn.v_proj.bias", "G*D", Layout::kVector},
    {Role::kOProj, "model.layers.{l}.self_attn.o_proj.weight", "H, N*D", Layout::kLinear},
    {Role::kMlpNorm, "model.layers.{l}.post_attention_layernorm.weight", "H", Layout::kVector},
    {Role::kGateProj, "model.layers.{l}.mlp.gate_proj.weight", "I, H", Layout::kLinear},
    {Role::kUpProj, "model.layers.{l}.mlp.up_proj.weight", "I, H", Layout::kLinear},
    {Role::kDownProj, "model.layers.{l}.mlp.down_proj.weight", "H, I", Layout::kLinear},
    {Role::kFinalNorm, "model.norm.weight", "H", Layout::kVector},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_untied},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_tied, /*optional=*/true},
});

void read_vision(ConfigReader& vision, VisionConfig& out) {
  // Bounds that keep the merger's width, a product of three, far within 63 bits.
  out.depth = read_members(vision, "depth", 32);
  out.embed_dim = vision.dimension_or("embed_dim", 1280, kMostWidth);
  out.hidden_size = vision.dimension_or("hidden_size", 3584);
  out.mlp_ratio = vision.dimension_or("mlp_ratio", 4, kMostWidth);
  out.intermediate_size = out.embed_dim * out.mlp_ratio;
  out.in_channels = vision.dimension_or("in_channels", 3, kMostWidth);
  out.patch_size = vision.dimension_or("patch_size", 14, kMostWidth);
  out.temporal_patch_size = vision.dimension_or("temporal_patch_size", 2, kMostWidth);
  out.spatial_merge_size = vision.dimension_or("spatial_merge_size", 2, kMostWidth);
  out.activation = read_activation(vision, "hidden_act", "quick_gelu");
}

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_common(
      file, {.num_key_value_heads = 8, .max_position_embeddings = 32768, .rms_norm_eps = 1e-5});
  ConfigReader& text = file.text();
  config.attention_bias = true;
  read_qwen_windows(text, config, 80);
  config.ropes = {read_rope(text, config, {.default_theta = 1'000'000.0, .mrope = true})};
  ConfigReader vision = require_vision(file);
  read_vision(vision, config.vision.emplace());
  read_qwen_tower(file.root(), vision, "embed_dim", *config.vision);
  finish_qwen_vl(file, vision, "hidden_size", config);
  return config;
}

}  // namespace

const ArchSpec kQwen2VlArch = {.model_type = "qwen2_vl",
                               .architectures = kNames,
                               .rules = kRules,
                               .read_config = read_config,
                               .buffers = kRotaryBuffers};

}  // namespace mg
