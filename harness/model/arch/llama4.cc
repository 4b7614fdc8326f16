// Llama 4 (Scout, Maverick) and its text model alone: experts of a layer in one tensor, a shared
// expert beside them, dense layers in between, and a vision tower.  Names and shapes of the Hub's
// files, which vLLM's loader asks for (language_model.model. becomes model. in canonical form).
// transformers: models/llama4/configuration_llama4.py, modeling_llama4.py; vLLM:
// model_executor/models/mllama4.py, llama4.py.
#include "harness/model/arch/header_rules.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"Llama4ForConditionalGeneration"});
constexpr std::array kTextNames = std::to_array<std::string_view>({"Llama4ForCausalLM"});

constexpr std::array kMlpRules = std::to_array<TensorRule>({
    {Role::kRouter, "model.layers.{l}.feed_forward.router.weight", "E, H", Layout::kLinear, is_moe},
    // [E, in, out], as the experts are multiplied from the right.
    {Role::kOther, "model.layers.{l}.feed_forward.experts.gate_up_proj", "E, H, 2*I",
     Layout::kOther, is_moe},
    {Role::kOther, "model.layers.{l}.feed_forward.experts.down_proj", "E, I, H", Layout::kOther,
     is_moe},
    {Role::kOther, "model.layers.{l}.feed_forward.shared_expert.gate_proj.weight", "I, H",
     Layout::kLinear, is_moe},
    {Role::kOther, "model.layers.{l}.feed_forward.shared_expert.up_proj.weight", "I, H",
     Layout::kLinear, is_moe},
    {Role::kOther, "model.layers.{l}.feed_forward.shared_expert.down_proj.weight", "H, I",
     Layout::kLinear, is_moe},
    {Role::kGateProj, "model.layers.{l}.feed_forward.gate_proj.weight", "dense, H", Layout::kLinear,
     is_dense},
    {Role::kUpProj, "model.layers.{l}.feed_forward.up_proj.weight", "dense, H", Layout::kLinear,
     is_dense},
    {Role::kDownProj, "model.layers.{l}.feed_forward.down_proj.weight", "H, dense", Layout::kLinear,
     is_dense},
});

constexpr std::array kVisionRules = std::to_array<TensorRule>({
    {Role::kVision, "multi_modal_projector.linear_1.weight", "H, v.out", Layout::kLinear},
    {Role::kVision, "vision_model.class_embedding", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.positional_embedding_vlm", "v.positions, v.embed",
     Layout::kEmbedding},
    {Role::kVision, "vision_model.patch_embedding.linear.weight",
     "v.embed, v.channels*v.patch*v.patch", Layout::kLinear},
    {Role::kVision, "vision_model.layernorm_pre.weight", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.layernorm_pre.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.layernorm_post.weight", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.layernorm_post.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_model.vision_adapter.mlp.fc1.weight", "p.in, v.mlp", Layout::kLinear},
    {Role::kVision, "vision_model.vision_adapter.mlp.fc2.weight", "p.out, p.out", Layout::kLinear},
    {Role::kVision, "vision_model.model.layers.{v}.input_layernorm.weight", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_model.model.layers.{v}.input_layernorm.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_model.model.layers.{v}.post_attention_layernorm.weight", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_model.model.layers.{v}.post_attention_layernorm.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_model.model.layers.{v}.self_attn.q_proj.weight", "v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_model.model.layers.{v}.self_attn.q_proj.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_model.model.layers.{v}.self_attn.k_proj.weight", "v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_model.model.layers.{v}.self_attn.k_proj.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_model.model.layers.{v}.self_attn.v_proj.weight", "v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_model.model.layers.{v}.self_attn.v_proj.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_model.model.layers.{v}.self_attn.o_proj.weight", "v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_model.model.layers.{v}.self_attn.o_proj.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_model.model.layers.{v}.mlp.fc1.weight", "v.mlp, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_model.model.layers.{v}.mlp.fc1.bias", "v.mlp", Layout::kVector},
    {Role::kVision, "vision_model.model.layers.{v}.mlp.fc2.weight", "v.embed, v.mlp",
     Layout::kLinear},
    {Role::kVision, "vision_model.model.layers.{v}.mlp.fc2.bias", "v.embed", Layout::kVector},
});

constexpr auto kTextRules = joined(kOuterRules, kAttentionRules, kMlpRules);
constexpr auto kRules = joined(kVisionRules, kOuterRules, kAttentionRules, kMlpRules);

ModelConfig read_text(ConfigFile& file) {
  ModelConfig config = read_sizes_only(
      file, {.num_key_value_heads = 8, .head_dim = 128, .max_position_embeddings = 131072});
  ConfigReader& text = file.text();
  config.attention_bias = text.boolean_or("attention_bias", false);
  config.output_bias = config.attention_bias;
  config.num_experts = read_members(text, "num_local_experts", 16);
  config.sizes["dense"] = text.dimension_or("intermediate_size_mlp", 16384);
  // moe_layers counts; without it every n-th layer (Llama4TextConfig.__post_init__).
  const std::int64_t step = text.dimension_or("interleave_moe_layer_step", 1);
  const auto listed = text.integers("moe_layers");
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    config.layers[static_cast<std::size_t>(l)].moe =
        listed ? std::find(listed->begin(), listed->end(), l) != listed->end()
               : (l + 1) % step == 0;
  }
  return config;
}

ModelConfig read_text_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  return read_text(file);
}

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_text(file);
  ConfigReader reader = require_vision(file);
  VisionConfig& vision = config.vision.emplace();
  vision.depth = read_members(reader, "num_hidden_layers", 34);
  vision.embed_dim = reader.dimension_or("hidden_size", 768, kMostWidth);
  vision.in_channels = reader.dimension_or("num_channels", 3, kMostMembers);
  vision.patch_size = reader.dimension_or("patch_size", 14, kMostMembers);
  config.sizes["v.positions"] = patch_count(reader, 448, 14) + 1;  // and the class token
  config.sizes["v.mlp"] = reader.dimension_or("intermediate_size", 5632, kMostWidth);
  config.sizes["v.out"] = reader.dimension_or("vision_output_dim", 7680, kMostWidth);
  config.sizes["p.in"] = reader.dimension_or("projector_input_dim", 4096, kMostWidth);
  config.sizes["p.out"] = reader.dimension_or("projector_output_dim", 4096, kMostWidth);
  return config;
}

}  // namespace

const ArchSpec kLlama4Arch = {.model_type = "llama4",
                              .architectures = kNames,
                              .rules = kRules,
                              .read_config = read_config,
                              .buffers = kRotaryBuffers,
                              .forward = false};

const ArchSpec kLlama4TextArch = {.model_type = "llama4_text",
                                  .architectures = kTextNames,
                                  .rules = kTextRules,
                                  .read_config = read_text_config,
                                  .buffers = kRotaryBuffers,
                                  .forward = false};

}  // namespace mg
