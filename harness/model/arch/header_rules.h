// What the rows without a forward pass share: the tensors of an ordinary decoder and of two vision
// towers, and reading a config no further than names and shapes need.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include "harness/model/arch/archs.h"

namespace mg {

/// Several lists of rules as one.
template <std::size_t... N>
constexpr auto joined(const std::array<TensorRule, N>&... parts) {
  std::array<TensorRule, (N + ...)> all{};
  auto out = all.begin();
  ((out = std::copy(parts.begin(), parts.end(), out)), ...);
  return all;
}

inline constexpr std::array kOuterRules = std::to_array<TensorRule>({
    {Role::kEmbedTokens, "model.embed_tokens.weight", "V, H", Layout::kEmbedding},
    {Role::kFinalNorm, "model.norm.weight", "H", Layout::kVector},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_untied},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_tied, /*optional=*/true},
});

inline constexpr std::array kAttentionRules = std::to_array<TensorRule>({
    {Role::kInputNorm, "model.layers.{l}.input_layernorm.weight", "H", Layout::kVector},
    {Role::kQProj, "model.layers.{l}.self_attn.q_proj.weight", "N*D, H", Layout::kLinear},
    {Role::kQBias, "model.layers.{l}.self_attn.q_proj.bias", "N*D", Layout::kVector,
     has_attention_bias},
    {Role::kKProj, "model.layers.{l}.self_attn.k_proj.weight", "G*D, H", Layout::kLinear},
    {Role::kKBias, "model.layers.{l}.self_attn.k_proj.bias", "G*D", Layout::kVector,
     has_attention_bias},
    {Role::kVProj, "model.layers.{l}.self_attn.v_proj.weight", "G*D, H", Layout::kLinear},
    {Role::kVBias, "model.layers.{l}.self_attn.v_proj.bias", "G*D", Layout::kVector,
     has_attention_bias},
    {Role::kOProj, "model.layers.{l}.self_attn.o_proj.weight", "H, N*D", Layout::kLinear},
    {Role::kOBias, "model.layers.{l}.self_attn.o_proj.bias", "H", Layout::kVector, has_output_bias},
    {Role::kMlpNorm, "model.layers.{l}.post_attention_layernorm.weight", "H", Layout::kVector},
});

inline bool has_head_norms(const ModelConfig& config, std::int64_t) {
  return config.qk_norm;
}

// Norms over the heads of q and k (Qwen3).
inline constexpr std::array kHeadNormRules = std::to_array<TensorRule>({
    {Role::kQNorm, "model.layers.{l}.self_attn.q_norm.weight", "D", Layout::kVector,
     has_head_norms},
    {Role::kKNorm, "model.layers.{l}.self_attn.k_norm.weight", "D", Layout::kVector,
     has_head_norms},
});

inline constexpr std::array kDenseMlpRules = std::to_array<TensorRule>({
    {Role::kGateProj, "model.layers.{l}.mlp.gate_proj.weight", "I, H", Layout::kLinear, is_dense},
    {Role::kUpProj, "model.layers.{l}.mlp.up_proj.weight", "I, H", Layout::kLinear, is_dense},
    {Role::kDownProj, "model.layers.{l}.mlp.down_proj.weight", "H, I", Layout::kLinear, is_dense},
});

// Experts one by one: Qwen, DeepSeek, ERNIE.
inline constexpr std::array kExpertRules = std::to_array<TensorRule>({
    {Role::kExpertGateProj, "model.layers.{l}.mlp.experts.{e}.gate_proj.weight", "M, H",
     Layout::kLinear, is_moe},
    {Role::kExpertUpProj, "model.layers.{l}.mlp.experts.{e}.up_proj.weight", "M, H",
     Layout::kLinear, is_moe},
    {Role::kExpertDownProj, "model.layers.{l}.mlp.experts.{e}.down_proj.weight", "H, M",
     Layout::kLinear, is_moe},
});

/// read_sizes(), marked as sizes alone: keys that say how to compute are left to the comparison
/// with the base's (harness/lint/rules/config.cc).
inline ModelConfig read_sizes_only(ConfigFile& file, const FamilyDefaults& defaults) {
  ModelConfig config = read_sizes(file, defaults);
  config.sizes_only = true;
  return config;
}

/// The object of a vision tower.  Throws Error "config.missing-key".
inline ConfigReader require_vision(ConfigFile& file) {
  std::optional<ConfigReader> vision = file.root().object("vision_config");
  if (!vision) {
    file.root().fail_missing("vision_config", "an object");
  }
  return *vision;
}

// Bounds that keep products of three sizes within 63 bits, and lists within memory.
inline constexpr std::int64_t kMostWidth = 1 << 20;
inline constexpr std::int64_t kMostMembers = 4096;

/// A number of experts or of blocks, at most 4096; as dimension_or.
inline std::int64_t read_members(ConfigReader& reader, std::string_view key,
                                 std::int64_t fallback) {
  return reader.dimension_or(key, fallback, kMostMembers);
}

/// The number of experts: num_local_experts of transformers 5, num_experts of 4.
inline std::int64_t read_expert_members(ConfigReader& reader, std::int64_t fallback) {
  return read_members(reader,
                      reader.has_value("num_local_experts") ? "num_local_experts" : "num_experts",
                      fallback);
}

/// The square of how many patches fit into an image's side.
inline std::int64_t patch_count(ConfigReader& vision, std::int64_t image, std::int64_t patch) {
  const std::int64_t side =
      vision.dimension_or("image_size", image, kMostWidth) /
      std::max<std::int64_t>(1, vision.dimension_or("patch_size", patch, kMostWidth));
  return side * side;
}

}  // namespace mg
