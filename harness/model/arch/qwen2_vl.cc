// Qwen2-VL: Qwen2's text model with positions in three axes (M-RoPE) and a vision tower.
// transformers: models/qwen2_vl/configuration_qwen2_vl.py, modeling_qwen2_vl.py.  Names are those
// of the Hub's files (model.layers, visual.); newer generations are mapped to them (names.h).  The
// forward pass is the text model's; the tower is known by names and shapes.
#include <algorithm>

#include "harness/model/arch/archs.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"Qwen2VLForConditionalGeneration"});

constexpr std::array kRules = std::to_array<TensorRule>({
    {Role::kVision, "visual.patch_embed.proj.weight",
     "v.embed, v.channels, v.temporal, v.patch, v.patch", Layout::kOther},
    {Role::kVision, "visual.blocks.{v}.norm1.weight", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.norm1.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.attn.qkv.weight", "3*v.embed, v.embed", Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.attn.qkv.bias", "3*v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.attn.proj.weight", "v.embed, v.embed", Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.attn.proj.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.norm2.weight", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.norm2.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.mlp.fc1.weight", "v.ratio*v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.mlp.fc1.bias", "v.ratio*v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.mlp.fc2.weight", "v.embed, v.ratio*v.embed",
     Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.mlp.fc2.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.merger.ln_q.weight", "v.embed", Layout::kVector},
    {Role::kVision, "visual.merger.ln_q.bias", "v.embed", Layout::kVector},
    {Role::kVision, "visual.merger.mlp.0.weight",
     "v.embed*v.merge*v.merge, v.embed*v.merge*v.merge", Layout::kLinear},
    {Role::kVision, "visual.merger.mlp.0.bias", "v.embed*v.merge*v.merge", Layout::kVector},
    {Role::kVision, "visual.merger.mlp.2.weight", "H, v.embed*v.merge*v.merge", Layout::kLinear},
    {Role::kVision, "visual.merger.mlp.2.bias", "H", Layout::kVector},
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

// in_chans and spatial_patch_size: copies of in_channels and patch_size in Hub files.
constexpr std::array kVisionInert =
    std::to_array<std::string_view>({"dtype", "in_chans", "initializer_range", "model_type",
                                     "spatial_patch_size", "torch_dtype", "transformers_version"});
constexpr std::array kInert = std::to_array<std::string_view>({"vision_token_id"});

VisionConfig read_vision(ConfigReader& root, ConfigReader& vision) {
  VisionConfig out;
  // Bounds that keep the merger's width, a product of three, far within 63 bits.
  constexpr std::int64_t kMost = 1 << 20;
  out.depth = vision.dimension_or("depth", 32, 4096);
  out.embed_dim = vision.dimension_or("embed_dim", 1280, kMost);
  out.hidden_size = vision.dimension_or("hidden_size", 3584);
  out.num_heads = vision.dimension_or("num_heads", 16, kMost);
  out.mlp_ratio = vision.dimension_or("mlp_ratio", 4, kMost);
  out.in_channels = vision.dimension_or("in_channels", 3, kMost);
  out.patch_size = vision.dimension_or("patch_size", 14, kMost);
  out.temporal_patch_size = vision.dimension_or("temporal_patch_size", 2, kMost);
  out.spatial_merge_size = vision.dimension_or("spatial_merge_size", 2, kMost);
  out.activation = read_activation(vision, "hidden_act", "quick_gelu");
  if (out.embed_dim % out.num_heads != 0) {
    vision.fail_unsupported("num_heads",
                            "a divisor of embed_dim = " + std::to_string(out.embed_dim),
                            "take the value from the base model's config.json");
  }
  if (std::optional<ConfigReader> rope = vision.object("rope_parameters")) {
    out.rope_theta = rope->number_or("rope_theta", 10000.0);
    constexpr std::array<std::string_view, 2> kTypes = {"axial", "default"};
    const std::string type = rope->text("rope_type").value_or("axial");
    if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end()) {
      rope->fail_unknown("rope_type", type, kTypes);
    }
  }
  out.image_token_id = root.integer("image_token_id").value_or(151655);
  out.video_token_id = root.integer("video_token_id").value_or(151656);
  out.vision_start_token_id = root.integer("vision_start_token_id").value_or(151652);
  out.vision_end_token_id = root.integer("vision_end_token_id").value_or(151653);
  return out;
}

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_common(
      file, {.num_key_value_heads = 8, .max_position_embeddings = 32768, .rms_norm_eps = 1e-5});
  ConfigReader& text = file.text();
  config.attention_bias = true;
  read_qwen_windows(text, config, 80);
  config.ropes = {read_rope(text, config, {.default_theta = 1'000'000.0, .mrope = true})};
  std::optional<ConfigReader> vision = file.root().object("vision_config");
  if (!vision) {
    file.root().fail_missing("vision_config", "an object");
  }
  config.vision = read_vision(file.root(), *vision);
  if (config.vision->hidden_size != config.hidden_size) {
    vision->fail_unsupported(
        "hidden_size", "hidden_size of the text model = " + std::to_string(config.hidden_size),
        "the merger's output must fit the text model; take both from the base model");
  }
  ConfigReader::Leftovers left = vision->leftovers(kVisionInert);
  config.unknown_keys.insert(config.unknown_keys.end(), left.unknown.begin(), left.unknown.end());
  config.neutral_keys.insert(config.neutral_keys.end(), left.neutral.begin(), left.neutral.end());
  file.finish(config, kInert);
  return config;
}

}  // namespace

const ArchSpec kQwen2VlArch = {.model_type = "qwen2_vl",
                               .architectures = kNames,
                               .rules = kRules,
                               .read_config = read_config,
                               .buffers = kRotaryBuffers};

}  // namespace mg
