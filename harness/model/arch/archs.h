// The rows of the architecture table, one file each, and what their files share.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>

#include "harness/model/arch.h"
#include "harness/model/text_config.h"

namespace mg {

extern const ArchSpec kLlamaArch;
extern const ArchSpec kMistralArch;
extern const ArchSpec kQwen2Arch;
extern const ArchSpec kQwen3Arch;
extern const ArchSpec kPhi3Arch;
extern const ArchSpec kGemma2Arch;
extern const ArchSpec kGemma3Arch;
extern const ArchSpec kGpt2Arch;
extern const ArchSpec kQwen3MoeArch;
extern const ArchSpec kQwen2VlArch;
// Names and shapes alone (ArchSpec::forward is false).
extern const ArchSpec kDeepseekV3Arch;
extern const ArchSpec kKimiK2Arch;
extern const ArchSpec kErnie45VlArch;
extern const ArchSpec kErnie45VlNativeArch;
extern const ArchSpec kGemma3VlArch;
extern const ArchSpec kLlama4Arch;
extern const ArchSpec kLlama4TextArch;
extern const ArchSpec kMiniCpmVArch;
extern const ArchSpec kMiniMaxArch;
extern const ArchSpec kMiniMaxText01Arch;
extern const ArchSpec kMiniMaxM1Arch;
extern const ArchSpec kMiniMaxM2Arch;
extern const ArchSpec kQwen25VlArch;
extern const ArchSpec kQwen3VlArch;
extern const ArchSpec kQwen3VlMoeArch;

// Conditions for TensorRule::present.
inline bool has_attention_bias(const ModelConfig& config, std::int64_t) {
  return config.attention_bias;
}
inline bool has_output_bias(const ModelConfig& config, std::int64_t) {
  return config.output_bias;
}
inline bool has_mlp_bias(const ModelConfig& config, std::int64_t) {
  return config.mlp_bias;
}
inline bool is_moe(const ModelConfig& config, std::int64_t layer) {
  return config.layers[static_cast<std::size_t>(layer)].moe;
}
inline bool is_dense(const ModelConfig& config, std::int64_t layer) {
  return !is_moe(config, layer);
}
inline bool is_tied(const ModelConfig& config, std::int64_t) {
  return config.tie_word_embeddings;
}
inline bool is_untied(const ModelConfig& config, std::int64_t) {
  return !config.tie_word_embeddings;
}

/// gemma_common.cc: norms stored as w - 1, four a layer; scores scaled by query_pre_attn_scalar;
/// scaled embeddings.
void read_gemma(ConfigReader& text, ModelConfig& config);
/// A soft-cap where the key may be absent (`absent`), null (none: 0) or a number.
double read_softcap(ConfigReader& text, std::string_view key, double absent);

// Old checkpoints store these; all readers recompute them.
inline constexpr std::array kRotaryBuffers = std::to_array<std::string_view>(
    {".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached"});

}  // namespace mg
