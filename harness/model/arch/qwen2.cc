// Qwen2, Qwen2.5, QwQ: Llama's tensors with biases on q, k, v.
// transformers: models/qwen2/configuration_qwen2.py, modeling_qwen2.py.
#include "harness/model/arch/archs.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"Qwen2ForCausalLM"});

constexpr std::array kRules = std::to_array<TensorRule>({
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

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config =
      read_common(file, {.num_key_value_heads = 32, .max_position_embeddings = 32768});
  config.attention_bias = true;
  read_qwen_windows(file.text(), config, 28);
  config.ropes = {read_rope(file.text(), config, {})};
  file.finish(config, {});
  return config;
}

}  // namespace

const ArchSpec kQwen2Arch = {.model_type = "qwen2",
                             .architectures = kNames,
                             .rules = kRules,
                             .read_config = read_config,
                             .buffers = kRotaryBuffers};

}  // namespace mg
