// Phi-3 and Phi-3.5 mini, Phi-4: q, k, v in one matrix, gate and up in one matrix, longrope.
// transformers: models/phi3/configuration_phi3.py, modeling_phi3.py.
#include "harness/model/arch/archs.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"Phi3ForCausalLM"});

constexpr std::array kRules = std::to_array<TensorRule>({
    {Role::kEmbedTokens, "model.embed_tokens.weight", "V, H", Layout::kEmbedding},
    {Role::kInputNorm, "model.layers.{l}.input_layernorm.weight", "H", Layout::kVector},
    // Rows: N*D of q, then G*D of k, then G*D of v.
    {Role::kQkvProj, "model.layers.{l}.self_attn.qkv_proj.weight", "N*D + 2*G*D, H",
     Layout::kLinear},
    {Role::kOProj, "model.layers.{l}.self_attn.o_proj.weight", "H, N*D", Layout::kLinear},
    {Role::kMlpNorm, "model.layers.{l}.post_attention_layernorm.weight", "H", Layout::kVector},
    // Rows: I of gate, then I of up.
    {Role::kGateUpProj, "model.layers.{l}.mlp.gate_up_proj.weight", "2*I, H", Layout::kLinear},
    {Role::kDownProj, "model.layers.{l}.mlp.down_proj.weight", "H, I", Layout::kLinear},
    {Role::kFinalNorm, "model.norm.weight", "H", Layout::kVector},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_untied},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_tied, /*optional=*/true},
});

// The length before longrope says nothing of a model without longrope; Phi-4 mini's files carry two
// keys of its makers' own code, which the class does not read.
constexpr std::array kInert = std::to_array<std::string_view>(
    {"full_attn_mod", "interpolate_factor", "original_max_position_embeddings"});

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_common(file, {.max_position_embeddings = 4096, .rms_norm_eps = 1e-5});
  config.packed_qkv = true;
  config.packed_gate_up = true;
  const std::optional<std::int64_t> window = read_window(file.text(), std::nullopt);
  for (LayerConfig& layer : config.layers) {
    layer.sliding_window = window.value_or(0);
  }
  config.ropes = {
      read_rope(file.text(), config,
                {.partial = true, .longrope_alias = true, .class_original_length = 4096})};
  file.finish(config, kInert);
  return config;
}

}  // namespace

const ArchSpec kPhi3Arch = {.model_type = "phi3",
                            .architectures = kNames,
                            .rules = kRules,
                            .read_config = read_config,
                            .buffers = kRotaryBuffers};

}  // namespace mg
