// What the vision towers of Qwen2.5-VL and Qwen3-VL share, with their keys of vision_config.
#pragma once

#include "harness/model/arch/header_rules.h"

namespace mg {

inline constexpr std::array kQwenVisionRules = std::to_array<TensorRule>({
    {Role::kVision, "visual.patch_embed.proj.weight",
     "v.embed, v.channels, v.temporal, v.patch, v.patch", Layout::kOther},
    {Role::kVision, "visual.blocks.{v}.attn.qkv.weight", "3*v.embed, v.embed", Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.attn.qkv.bias", "3*v.embed", Layout::kVector},
    {Role::kVision, "visual.blocks.{v}.attn.proj.weight", "v.embed, v.embed", Layout::kLinear},
    {Role::kVision, "visual.blocks.{v}.attn.proj.bias", "v.embed", Layout::kVector},
});

struct QwenVisionDefaults {
  std::int64_t embed_dim = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t patch_size = 0;
  std::int64_t depth = 0;
};

/// Fills config.vision and the words v.mlp, v.out (the merger's output) and v.merged (its input:
/// the patches that become one token, side by side).  Throws Error "config.*".
inline void read_qwen_vision(ConfigFile& file, ModelConfig& config,
                             const QwenVisionDefaults& defaults) {
  ConfigReader reader = require_vision(file);
  VisionConfig& vision = config.vision.emplace();
  vision.depth = read_members(reader, "depth", defaults.depth);
  vision.embed_dim = reader.dimension_or("hidden_size", defaults.embed_dim, kMostWidth);
  vision.hidden_size = reader.dimension_or("out_hidden_size", 3584, kMostWidth);
  vision.in_channels = reader.dimension_or("in_channels", 3, kMostWidth);
  vision.patch_size = reader.dimension_or("patch_size", defaults.patch_size, kMostMembers);
  vision.temporal_patch_size = reader.dimension_or("temporal_patch_size", 2, kMostMembers);
  vision.spatial_merge_size = reader.dimension_or("spatial_merge_size", 2, kMostMembers);
  config.sizes["v.mlp"] =
      reader.dimension_or("intermediate_size", defaults.intermediate_size, kMostWidth);
  config.sizes["v.out"] = vision.hidden_size;
  config.sizes["v.merged"] =
      vision.embed_dim * vision.spatial_merge_size * vision.spatial_merge_size;
}

}  // namespace mg
