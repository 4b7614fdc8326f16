// Gemma 3 text models: as Gemma 2 without soft-caps, with norms over the heads of q and k, five
// sliding layers for each full one and a rope of its own for each kind. transformers:
// models/gemma3/configuration_gemma3.py, modeling_gemma3.py.
#include "harness/model/arch/archs.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"Gemma3ForCausalLM"});

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
    {Role::kQNorm, "model.layers.{l}.self_attn.q_norm.weight", "D", Layout::kVector},
    {Role::kKNorm, "model.layers.{l}.self_attn.k_norm.weight", "D", Layout::kVector},
    {Role::kOProj, "model.layers.{l}.self_attn.o_proj.weight", "H, N*D", Layout::kLinear},
    {Role::kOBias, "model.layers.{l}.self_attn.o_proj.bias", "H", Layout::kVector, has_output_bias},
    {Role::kPostAttentionNorm, "model.layers.{l}.post_attention_layernorm.weight", "H",
     Layout::kVector},
    {Role::kMlpNorm, "model.layers.{l}.pre_feedforward_layernorm.weight", "H", Layout::kVector},
    {Role::kGateProj, "model.layers.{l}.mlp.gate_proj.weight", "I, H", Layout::kLinear},
    {Role::kUpProj, "model.layers.{l}.mlp.up_proj.weight", "I, H", Layout::kLinear},
    {Role::kDownProj, "model.layers.{l}.mlp.down_proj.weight", "H, I", Layout::kLinear},
    {Role::kPostMlpNorm, "model.layers.{l}.post_feedforward_layernorm.weight", "H",
     Layout::kVector},
    {Role::kFinalNorm, "model.norm.weight", "H", Layout::kVector},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_untied},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_tied, /*optional=*/true},
});

// transformers writes the pattern as _sliding_window_pattern beside layer_types, which is what it
// reads back.
constexpr std::array kInert =
    std::to_array<std::string_view>({"_sliding_window_pattern", "hidden_act"});

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_common(file, {.num_key_value_heads = 4,
                                          .head_dim = 256,
                                          .max_position_embeddings = 131072,
                                          .tie_word_embeddings = true,
                                          .activation_key = "hidden_activation",
                                          .activation = "gelu_pytorch_tanh"});
  read_gemma(file.text(), config);
  ConfigReader& text = file.text();
  config.qk_norm = true;
  if (read_softcap(text, "attn_logit_softcapping", 0.0) != 0.0) {
    text.fail_unsupported(
        "attn_logit_softcapping", "null",
        "the reference implementation stores this key for Gemma 3 and does not apply it");
  }
  config.final_softcap = read_softcap(text, "final_logit_softcapping", 0.0);
  apply_layer_types(
      text, config, read_window(text, 4096),
      [](std::int64_t layer, std::int64_t pattern) { return (layer + 1) % pattern != 0; },
      text.dimension_or("sliding_window_pattern", 6));
  config.ropes = read_gemma3_ropes(text, config);
  for (LayerConfig& layer : config.layers) {
    layer.rope = layer.sliding_window > 0 ? 1 : 0;
  }
  file.finish(config, kInert);
  return config;
}

}  // namespace

const ArchSpec kGemma3Arch = {.model_type = "gemma3_text",
                              .architectures = kNames,
                              .rules = kRules,
                              .read_config = read_config,
                              .buffers = kRotaryBuffers};

}  // namespace mg
