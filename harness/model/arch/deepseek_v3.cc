// DeepSeek-V3, R1 and Kimi-K2: keys and values through a low-rank bottleneck (MLA), dense layers
// first, then experts with one that all tokens share.  Names and shapes of the Hub's files, which
// vLLM's loader asks for.  transformers: models/deepseek_v3/configuration_deepseek_v3.py,
// modeling_deepseek_v3.py; vLLM: model_executor/models/deepseek_v2.py.
#include <charconv>

#include "harness/model/arch/header_rules.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"DeepseekV3ForCausalLM"});
constexpr std::array kKimiNames =
    std::to_array<std::string_view>({"DeepseekV3ForCausalLM", "KimiK2ForCausalLM"});

bool has_q_rank(const ModelConfig& config, std::int64_t) {
  return config.sizes.contains("q.rank");
}
bool has_no_q_rank(const ModelConfig& config, std::int64_t layer) {
  return !has_q_rank(config, layer);
}
bool has_q_bias(const ModelConfig& config, std::int64_t layer) {
  return config.attention_bias && has_q_rank(config, layer);
}
bool has_shared(const ModelConfig& config, std::int64_t layer) {
  return is_moe(config, layer) && config.sizes.at("shared") > 0;
}

constexpr std::array kLayerRules = std::to_array<TensorRule>({
    {Role::kInputNorm, "model.layers.{l}.input_layernorm.weight", "H", Layout::kVector},
    {Role::kQProj, "model.layers.{l}.self_attn.q_proj.weight", "N*(qk.nope+qk.rope), H",
     Layout::kLinear, has_no_q_rank},
    {Role::kOther, "model.layers.{l}.self_attn.q_a_proj.weight", "q.rank, H", Layout::kLinear,
     has_q_rank},
    {Role::kOther, "model.layers.{l}.self_attn.q_a_proj.bias", "q.rank", Layout::kVector,
     has_q_bias},
    {Role::kOther, "model.layers.{l}.self_attn.q_a_layernorm.weight", "q.rank", Layout::kVector,
     has_q_rank},
    {Role::kOther, "model.layers.{l}.self_attn.q_b_proj.weight", "N*(qk.nope+qk.rope), q.rank",
     Layout::kLinear, has_q_rank},
    {Role::kOther, "model.layers.{l}.self_attn.kv_a_proj_with_mqa.weight", "kv.rank+qk.rope, H",
     Layout::kLinear},
    {Role::kOther, "model.layers.{l}.self_attn.kv_a_proj_with_mqa.bias", "kv.rank+qk.rope",
     Layout::kVector, has_attention_bias},
    {Role::kOther, "model.layers.{l}.self_attn.kv_a_layernorm.weight", "kv.rank", Layout::kVector},
    {Role::kOther, "model.layers.{l}.self_attn.kv_b_proj.weight", "N*(qk.nope+v.head), kv.rank",
     Layout::kLinear},
    {Role::kOProj, "model.layers.{l}.self_attn.o_proj.weight", "H, N*v.head", Layout::kLinear},
    {Role::kOBias, "model.layers.{l}.self_attn.o_proj.bias", "H", Layout::kVector,
     has_attention_bias},
    {Role::kMlpNorm, "model.layers.{l}.post_attention_layernorm.weight", "H", Layout::kVector},
    {Role::kRouter, "model.layers.{l}.mlp.gate.weight", "E, H", Layout::kLinear, is_moe},
    {Role::kOther, "model.layers.{l}.mlp.gate.e_score_correction_bias", "E", Layout::kVector,
     is_moe},
    {Role::kOther, "model.layers.{l}.mlp.shared_experts.gate_proj.weight", "shared, H",
     Layout::kLinear, has_shared},
    {Role::kOther, "model.layers.{l}.mlp.shared_experts.up_proj.weight", "shared, H",
     Layout::kLinear, has_shared},
    {Role::kOther, "model.layers.{l}.mlp.shared_experts.down_proj.weight", "H, shared",
     Layout::kLinear, has_shared},
});

constexpr auto kRules = joined(kOuterRules, kLayerRules, kDenseMlpRules, kExpertRules);

/// The layers after the last that predict further tokens (layer 61 of DeepSeek-V3): the Hub's file
/// has them, transformers before 5 neither reads nor writes them, vLLM wants them for speculation
/// alone.  Against a base that has them they are F11 (harness/lint/expectation.cc).
bool is_spare(const ModelConfig& config, std::string_view name) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) {
    return false;
  }
  std::int64_t layer = -1;
  const std::string_view digits = name.substr(kLayers.size());
  std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  return layer >= config.num_hidden_layers &&
         layer < config.num_hidden_layers + config.sizes.at("predicting");
}

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_sizes_only(file, {.max_position_embeddings = 4096});
  ConfigReader& text = file.text();
  config.attention_bias = text.boolean_or("attention_bias", false);
  config.num_experts = read_members(text, "n_routed_experts", 256);
  config.moe_intermediate_size = text.dimension_or("moe_intermediate_size", 2048, kMostWidth);
  config.sizes["shared"] =
      config.moe_intermediate_size *
      std::clamp<std::int64_t>(text.integer("n_shared_experts").value_or(1), 0, kMostMembers);
  // Null says that queries have no bottleneck; absent, that it is the class's.
  if (text.has_value("q_lora_rank") || !text.contains("q_lora_rank")) {
    config.sizes["q.rank"] = text.dimension_or("q_lora_rank", 1536, kMostWidth);
  }
  config.sizes["kv.rank"] = text.dimension_or("kv_lora_rank", 512, kMostWidth);
  config.sizes["qk.nope"] = text.dimension_or("qk_nope_head_dim", 128, kMostMembers);
  config.sizes["qk.rope"] = text.dimension_or("qk_rope_head_dim", 64, kMostMembers);
  config.sizes["v.head"] = text.dimension_or("v_head_dim", 128, kMostMembers);
  config.sizes["predicting"] = std::clamp<std::int64_t>(
      text.integer("num_nextn_predict_layers").value_or(1), 0, kMostMembers);
  const std::int64_t dense = text.integer("first_k_dense_replace").value_or(3);
  const std::int64_t step = text.dimension_or("moe_layer_freq", 1, kMostMembers);
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    config.layers[static_cast<std::size_t>(l)].moe = l >= dense && l % step == 0;
  }
  return config;
}

}  // namespace

const ArchSpec kDeepseekV3Arch = {.model_type = "deepseek_v3",
                                  .architectures = kNames,
                                  .rules = kRules,
                                  .read_config = read_config,
                                  .buffers = kRotaryBuffers,
                                  .forward = false,
                                  .spare = is_spare};

const ArchSpec kKimiK2Arch = {.model_type = "kimi_k2",
                              .architectures = kKimiNames,
                              .rules = kRules,
                              .read_config = read_config,
                              .buffers = kRotaryBuffers,
                              .forward = false,
                              .spare = is_spare};

}  // namespace mg
