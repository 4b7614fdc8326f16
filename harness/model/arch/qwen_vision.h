// What the vision towers of Qwen2-VL, Qwen2.5-VL and Qwen3-VL share, with their keys of
// vision_config.
#pragma once

#include <algorithm>
#include <string>

#include "harness/model/arch/header_rules.h"

namespace mg {

inline constexpr std::array kQwenVisionRules = std::to_array<TensorRule>({
    {Role::kPatchEmbed, "visual.patch_embed.proj.weight",
     "v.embed, v.channels, v.temporal, v.patch, v.patch", Layout::kOther},
    {Role::kQkvProj, "visual.blocks.{v}.attn.qkv.weight", "3*v.embed, v.embed", Layout::kLinear},
    {Role::kQkvBias, "visual.blocks.{v}.attn.qkv.bias", "3*v.embed", Layout::kVector},
    {Role::kOProj, "visual.blocks.{v}.attn.proj.weight", "v.embed, v.embed", Layout::kLinear},
    {Role::kOBias, "visual.blocks.{v}.attn.proj.bias", "v.embed", Layout::kVector},
});

struct QwenVisionDefaults {
  std::int64_t embed_dim = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t patch_size = 0;
  std::int64_t depth = 0;
};

/// Fills config.vision and the words v.mlp, v.out (the merger's output) and v.merged (its input:
/// the patches that become one token, side by side).  Throws Error "config.*".
inline void read_qwen_vision(ConfigReader& reader, ModelConfig& config,
                             const QwenVisionDefaults& defaults) {
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

// Keys that change nothing that is computed.  in_chans and spatial_patch_size: copies of
// in_channels and patch_size in Hub files.
inline constexpr std::array kQwenVisionInert =
    std::to_array<std::string_view>({"dtype", "in_chans", "initializer_range", "model_type",
                                     "spatial_patch_size", "torch_dtype", "transformers_version"});
inline constexpr std::array kQwenVlInert = std::to_array<std::string_view>({"vision_token_id"});

/// What a tower's forward pass needs beside its sizes: heads, rope, placeholders.  `embed_key`
/// names the tower's width.  Throws Error "config.*".
inline void read_qwen_tower(ConfigReader& root, ConfigReader& vision, std::string_view embed_key,
                            VisionConfig& out) {
  out.num_heads = vision.dimension_or("num_heads", 16, kMostWidth);
  if (out.embed_dim % out.num_heads != 0) {
    vision.fail_unsupported(
        "num_heads",
        "a divisor of " + std::string(embed_key) + " = " + std::to_string(out.embed_dim),
        "take the value from the base model's config.json");
  }
  if (std::optional<ConfigReader> rope = vision.object("rope_parameters")) {
    out.rope_theta = rope->positive_or("rope_theta", 10000.0);
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
}

/// Checks that the merger's output, under `key`, fits the text, and notes what nobody read.
inline void finish_qwen_vl(ConfigFile& file, ConfigReader& vision, std::string_view key,
                           ModelConfig& config) {
  if (config.vision->hidden_size != config.hidden_size) {
    vision.fail_unsupported(
        key, "hidden_size of the text model = " + std::to_string(config.hidden_size),
        "the merger's output must fit the text model; take both from the base model");
  }
  ConfigReader::Leftovers left = vision.leftovers(kQwenVisionInert);
  config.unknown_keys.insert(config.unknown_keys.end(), left.unknown.begin(), left.unknown.end());
  config.neutral_keys.insert(config.neutral_keys.end(), left.neutral.begin(), left.neutral.end());
  file.finish(config, kQwenVlInert);
}

}  // namespace mg
