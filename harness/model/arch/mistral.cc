// Mistral 7B and relatives: Llama's tensors, a sliding window on every layer.
// transformers: models/mistral/configuration_mistral.py, modeling_mistral.py.
#include "harness/model/arch/archs.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"MistralForCausalLM"});

constexpr std::array kRules = std::to_array<TensorRule>({
    {Role::kEmbedTokens, "model.embed_tokens.weight", "V, H", Layout::kEmbedding},
    {Role::kInputNorm, "model.layers.{l}.input_layernorm.weight", "H", Layout::kVector},
    {Role::kQProj, "model.layers.{l}.self_attn.q_proj.weight", "N*D, H", Layout::kLinear},
    {Role::kKProj, "model.layers.{l}.self_attn.k_proj.weight", "G*D, H", Layout::kLinear},
    {Role::kVProj, "model.layers.{l}.self_attn.v_proj.weight", "G*D, H", Layout::kLinear},
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
      read_common(file, {.num_key_value_heads = 8, .max_position_embeddings = 4096 * 32});
  const std::optional<std::int64_t> window = read_window(file.text(), 4096);
  // The class ignores layer_types: with one, the layers would not be what it says.
  for (LayerConfig& layer : config.layers) {
    layer.sliding_window = window.value_or(0);
  }
  config.ropes = {read_rope(file.text(), config, {})};
  file.finish(config, {});
  return config;
}

}  // namespace

const ArchSpec kMistralArch = {.model_type = "mistral",
                               .architectures = kNames,
                               .rules = kRules,
                               .read_config = read_config,
                               .buffers = kRotaryBuffers};

}  // namespace mg
