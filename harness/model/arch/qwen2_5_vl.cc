// Qwen2.5-VL: Qwen2-VL's text model, and a vision tower with RMS norms, gated MLPs and attention in
// windows, whose clips stand at absolute times.  Names are those of the Hub's files (model.layers,
// visual.), which vLLM's loader asks for.  transformers:
// models/qwen2_5_vl/configuration_qwen2_5_vl.py, modeling_qwen2_5_vl.py; vLLM:
// model_executor/models/qwen2_5_vl.py.
#include "harness/model/arch/header_rules.h"
#include "harness/model/arch/qwen_vision.h"

namespace mg {
namespace {

constexpr std::array kNames =
    std::to_array<std::string_view>({"Qwen2_5_VLForConditionalGeneration"});

constexpr std::array kVisionRules = std::to_array<TensorRule>({
    {Role::kInputNorm, "visual.blocks.{v}.norm1.weight", "v.embed", Layout::kVector},
    {Role::kMlpNorm, "visual.blocks.{v}.norm2.weight", "v.embed", Layout::kVector},
    {Role::kGateProj, "visual.blocks.{v}.mlp.gate_proj.weight", "v.mlp, v.embed", Layout::kLinear},
    {Role::kGateBias, "visual.blocks.{v}.mlp.gate_proj.bias", "v.mlp", Layout::kVector},
    {Role::kUpProj, "visual.blocks.{v}.mlp.up_proj.weight", "v.mlp, v.embed", Layout::kLinear},
    {Role::kUpBias, "visual.blocks.{v}.mlp.up_proj.bias", "v.mlp", Layout::kVector},
    {Role::kDownProj, "visual.blocks.{v}.mlp.down_proj.weight", "v.embed, v.mlp", Layout::kLinear},
    {Role::kDownBias, "visual.blocks.{v}.mlp.down_proj.bias", "v.embed", Layout::kVector},
    {Role::kMergerNorm, "visual.merger.ln_q.weight", "v.embed", Layout::kVector},
    {Role::kMergerUp, "visual.merger.mlp.0.weight", "v.merged, v.merged", Layout::kLinear},
    {Role::kMergerUpBias, "visual.merger.mlp.0.bias", "v.merged", Layout::kVector},
    {Role::kMergerDown, "visual.merger.mlp.2.weight", "v.out, v.merged", Layout::kLinear},
    {Role::kMergerDownBias, "visual.merger.mlp.2.bias", "v.out", Layout::kVector},
});

constexpr auto kRules =
    joined(kQwenVisionRules, kVisionRules, kOuterRules, kAttentionRules, kDenseMlpRules);

// The blocks with full attention of the class (Qwen2_5_VLVisionConfig.fullatt_block_indexes).
constexpr std::array<std::int64_t, 4> kFullBlocks = {7, 15, 23, 31};

void read_vision(ConfigReader& vision, ModelConfig& config) {
  read_qwen_vision(vision, config,
                   {.embed_dim = 3584, .intermediate_size = 3420, .patch_size = 14, .depth = 32});
  VisionConfig& out = *config.vision;
  out.intermediate_size = config.sizes["v.mlp"];
  out.norm = NormKind::kRms;
  out.gated_mlp = true;
  out.activation = read_activation(vision, "hidden_act", "silu");
  out.tokens_per_second = vision.dimension_or("tokens_per_second", 4, kMostWidth);
  out.full_attention_blocks =
      vision.integers("fullatt_block_indexes")
          .value_or(std::vector<std::int64_t>(kFullBlocks.begin(), kFullBlocks.end()));
  out.window_size = vision.dimension_or("window_size", 112, kMostWidth);
  if (out.window_size < out.patch_size * out.spatial_merge_size) {
    vision.fail_unsupported("window_size", "at least one token's patches",
                            "take the value from the base model's config.json");
  }
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
  read_vision(vision, config);
  read_qwen_tower(file.root(), vision, "hidden_size", *config.vision);
  finish_qwen_vl(file, vision, "out_hidden_size", config);
  return config;
}

}  // namespace

const ArchSpec kQwen25VlArch = {.model_type = "qwen2_5_vl",
                                .architectures = kNames,
                                .rules = kRules,
                                .read_config = read_config,
                                .buffers = kRotaryBuffers};

}  // namespace mg
