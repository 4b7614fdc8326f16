// SigLIP as a vision tower (transformers: models/siglip/modeling_siglip.py), under its two names.
#pragma once

#include "harness/model/arch/header_rules.h"

namespace mg {

/// The tensors of the tower in canonical form; MiniCPM-V calls it "vpm." (canonical as well).
inline constexpr std::array kSiglipRules = std::to_array<TensorRule>({
    {Role::kVision, "vision_tower.embeddings.patch_embedding.weight",
     "v.embed, v.channels, v.patch, v.patch", Layout::kOther},
    {Role::kVision, "vision_tower.embeddings.patch_embedding.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_tower.embeddings.position_embedding.weight", "v.positions, v.embed",
     Layout::kEmbedding},
    {Role::kVision, "vision_tower.encoder.layers.{v}.layer_norm1.weight", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_tower.encoder.layers.{v}.layer_norm1.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_tower.encoder.layers.{v}.layer_norm2.weight", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_tower.encoder.layers.{v}.layer_norm2.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_tower.encoder.layers.{v}.self_attn.q_proj.weight", "v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_tower.encoder.layers.{v}.self_attn.q_proj.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_tower.encoder.layers.{v}.self_attn.k_proj.weight", "v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_tower.encoder.layers.{v}.self_attn.k_proj.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_tower.encoder.layers.{v}.self_attn.v_proj.weight", "v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_tower.encoder.layers.{v}.self_attn.v_proj.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_tower.encoder.layers.{v}.self_attn.out_proj.weight", "v.embed, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_tower.encoder.layers.{v}.self_attn.out_proj.bias", "v.embed",
     Layout::kVector},
    {Role::kVision, "vision_tower.encoder.layers.{v}.mlp.fc1.weight", "v.mlp, v.embed",
     Layout::kLinear},
    {Role::kVision, "vision_tower.encoder.layers.{v}.mlp.fc1.bias", "v.mlp", Layout::kVector},
    {Role::kVision, "vision_tower.encoder.layers.{v}.mlp.fc2.weight", "v.embed, v.mlp",
     Layout::kLinear},
    {Role::kVision, "vision_tower.encoder.layers.{v}.mlp.fc2.bias", "v.embed", Layout::kVector},
    {Role::kVision, "vision_tower.post_layernorm.weight", "v.embed", Layout::kVector},
    {Role::kVision, "vision_tower.post_layernorm.bias", "v.embed", Layout::kVector},
});

struct SiglipDefaults {
  std::int64_t image_size = 0;
  std::int64_t patch_size = 0;
  std::int64_t depth = 0;
};

/// Fills config.vision and the words v.mlp and v.positions.  Throws Error "config.*".
inline void read_siglip(ConfigReader& reader, ModelConfig& config, const SiglipDefaults& defaults) {
  VisionConfig& vision = config.vision.emplace();
  vision.depth = read_members(reader, "num_hidden_layers", defaults.depth);
  vision.embed_dim = reader.dimension_or("hidden_size", 768, kMostWidth);
  vision.in_channels = reader.dimension_or("num_channels", 3, kMostMembers);
  vision.patch_size = reader.dimension_or("patch_size", defaults.patch_size, kMostMembers);
  config.sizes["v.mlp"] = reader.dimension_or("intermediate_size", 3072, kMostWidth);
  config.sizes["v.positions"] = patch_count(reader, defaults.image_size, defaults.patch_size);
}

}  // namespace mg
