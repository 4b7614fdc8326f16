// Gemma 3 with a vision tower (4B and larger): Gemma 3's text model, SigLIP and a projector.  Names
// and shapes of the Hub's files, which vLLM's loader asks for (language_model.model. becomes model.
// and vision_tower.vision_model. becomes vision_tower. in canonical form).  transformers:
// models/gemma3/, models/siglip/; vLLM: model_executor/models/gemma3_mm.py.
#include "harness/model/arch/header_rules.h"
#include "harness/model/arch/siglip_rules.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"Gemma3ForConditionalGeneration"});

constexpr std::array kOwnRules = std::to_array<TensorRule>({
    {Role::kVision, "multi_modal_projector.mm_input_projection_weight", "v.embed, H",
     Layout::kOther},
    {Role::kVision, "multi_modal_projector.mm_soft_emb_norm.weight", "v.embed", Layout::kVector},
    // post_attention_layernorm is the norm after attention here, and the MLP has two of its own.
    {Role::kPostAttentionNorm, "model.layers.{l}.pre_feedforward_layernorm.weight", "H",
     Layout::kVector},
    {Role::kPostMlpNorm, "model.layers.{l}.post_feedforward_layernorm.weight", "H",
     Layout::kVector},
});

constexpr auto kRules =
    joined(kSiglipRules, kOwnRules, kOuterRules, kAttentionRules, kHeadNormRules, kDenseMlpRules);

/// The pooling head of SigLIP, which Gemma 3 does not use and its Hub files do not have.
bool is_spare(const ModelConfig&, std::string_view name) {
  return name.starts_with("vision_tower.head.");
}

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  // The Hub's files leave out what equals the class defaults.
  ModelConfig config = read_sizes_only(file, {.vocab_size = 262208,
                                              .num_attention_heads = 8,
                                              .num_key_value_heads = 4,
                                              .head_dim = 256,
                                              .max_position_embeddings = 131072,
                                              .tie_word_embeddings = true});
  config.qk_norm = true;
  config.attention_bias = file.text().boolean_or("attention_bias", false);
  config.output_bias = config.attention_bias;
  ConfigReader vision = require_vision(file);
  read_siglip(vision, config, {.image_size = 224, .patch_size = 16, .depth = 12});
  return config;
}

}  // namespace

const ArchSpec kGemma3VlArch = {.model_type = "gemma3",
                                .architectures = kNames,
                                .rules = kRules,
                                .read_config = read_config,
                                .buffers = kRotaryBuffers,
                                .forward = false,
                                .spare = is_spare};

}  // namespace mg
