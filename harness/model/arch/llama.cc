// Llama 1 to 3.2 and the many models published under its classes (SmolLM2, TinyLlama, Yi, ...).
// transformers: models/llama/configuration_llama.py, modeling_llama.py.
#include "harness/model/arch/archs.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"LlamaForCausalLM"});

constexpr std::array kRules = std::to_array<TensorRule>({
    {Role::kEmbedTokens, "model.embed_tokens.weight", "V, H", Layout::kEmbedding},
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
    {Role::kGateProj, "model.layers.{l}.mlp.gate_proj.weight", "I, H", Layout::kLinear},
    {Role::kGateBias, "model.layers.{l}.mlp.gate_proj.bias", "I", Layout::kVector, has_mlp_bias},
    {Role::kUpProj, "model.layers.{l}.mlp.up_proj.weight", "I, H", Layout::kLinear},
    {Role::kUpBias, "model.layers.{l}.mlp.up_proj.bias", "I", Layout::kVector, has_mlp_bias},
    {Role::kDownProj, "model.layers.{l}.mlp.down_proj.weight", "H, I", Layout::kLinear},
    {Role::kDownBias, "model.layers.{l}.mlp.down_proj.bias", "H", Layout::kVector, has_mlp_bias},
    {Role::kFinalNorm, "model.norm.weight", "H", Layout::kVector},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_untied},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_tied, /*optional=*/true},
});

// The first conversions of Llama 1 carry the length under another name, SmolLM2's files a mark of
// their makers' trainer; no class reads either.
constexpr std::array kInert =
    std::to_array<std::string_view>({"is_llama_config", "max_sequence_length"});

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_common(file, {.max_position_embeddings = 2048});
  // One flag for the biases of q, k, v and o (LlamaAttention).
  config.attention_bias = file.text().boolean_or("attention_bias", false);
  config.output_bias = config.attention_bias;
  config.mlp_bias = file.text().boolean_or("mlp_bias", false);
  apply_layer_types(file.text(), config, std::nullopt, nullptr, 0);
  config.ropes = {read_rope(file.text(), config, {})};
  file.finish(config, kInert);
  return config;
}

}  // namespace

const ArchSpec kLlamaArch = {.model_type = "llama",
                             .architectures = kNames,
                             .rules = kRules,
                             .read_config = read_config,
                             .buffers = kRotaryBuffers};

}  // namespace mg
