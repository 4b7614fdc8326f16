// Qwen3 with experts: Qwen3's attention, a router and E small gated MLPs in the layers that have
// them. transformers: models/qwen3_moe/configuration_qwen3_moe.py, modeling_qwen3_moe.py.  It keeps
// all experts of a layer in one parameter and writes them one by one (conversion_mapping
// "qwen2_moe"); raw state dicts hold the former.
#include <algorithm>

#include "harness/model/arch/archs.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"Qwen3MoeForCausalLM"});

bool has_single_experts(const ModelConfig& config, std::int64_t layer) {
  return is_moe(config, layer) && !config.packed_experts;
}
bool has_packed_experts(const ModelConfig& config, std::int64_t layer) {
  return is_moe(config, layer) && config.packed_experts;
}

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
    {Role::kMlpNorm, "model.layers.{l}.post_attention_layernorm.weight", "H", Layout::kVector},
    {Role::kRouter, "model.layers.{l}.mlp.gate.weight", "E, H", Layout::kLinear, is_moe},
    {Role::kExpertGateProj, "model.layers.{l}.mlp.experts.{e}.gate_proj.weight", "M, H",
     Layout::kLinear, has_single_experts},
    {Role::kExpertUpProj, "model.layers.{l}.mlp.experts.{e}.up_proj.weight", "M, H",
     Layout::kLinear, has_single_experts},
    {Role::kExpertDownProj, "model.layers.{l}.mlp.experts.{e}.down_proj.weight", "H, M",
     Layout::kLinear, has_single_experts},
    {Role::kExpertsGateUpProj, "model.layers.{l}.mlp.experts.gate_up_proj", "E, 2*M, H",
     Layout::kOther, has_packed_experts},
    {Role::kExpertsDownProj, "model.layers.{l}.mlp.experts.down_proj", "E, H, M", Layout::kOther,
     has_packed_experts},
    {Role::kGateProj, "model.layers.{l}.mlp.gate_proj.weight", "I, H", Layout::kLinear, is_dense},
    {Role::kUpProj, "model.layers.{l}.mlp.up_proj.weight", "I, H", Layout::kLinear, is_dense},
    {Role::kDownProj, "model.layers.{l}.mlp.down_proj.weight", "H, I", Layout::kLinear, is_dense},
    {Role::kFinalNorm, "model.norm.weight", "H", Layout::kVector},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_untied},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_tied, /*optional=*/true},
});

// The router's auxiliary loss is a training matter; the class has no layer windows
// (max_window_layers unread).
constexpr std::array kInert = std::to_array<std::string_view>(
    {"max_window_layers", "output_router_logits", "router_aux_loss_coef"});

// transformers 5 writes num_local_experts, 4 num_experts (attribute_map of the class).
std::int64_t read_expert_count(ConfigReader& text) {
  constexpr std::int64_t kMostExperts = 4096;
  const std::string_view key =
      text.has_value("num_local_experts") ? "num_local_experts" : "num_experts";
  const std::int64_t experts = text.dimension(key);
  if (experts > kMostExperts) {
    text.fail_unsupported(key, "at most " + std::to_string(kMostExperts),
                          "take the value from the base model's config.json");
  }
  if (text.integer("num_experts").value_or(experts) != experts) {
    text.fail_unsupported("num_experts", std::to_string(experts) + " as in num_local_experts",
                          "the two keys mean the same and disagree; take both from the base model");
  }
  return experts;
}

void read_experts(ConfigReader& text, ModelConfig& config) {
  config.num_experts = read_expert_count(text);
  config.num_experts_per_tok = text.dimension_or("num_experts_per_tok", 8);
  if (config.num_experts_per_tok > config.num_experts) {
    text.fail_unsupported("num_experts_per_tok",
                          "at most " + std::to_string(config.num_experts) + " experts",
                          "take the value from the base model's config.json");
  }
  config.moe_intermediate_size = text.dimension_or("moe_intermediate_size", 768);
  config.norm_topk_prob = text.boolean_or("norm_topk_prob", false);
  read_sparse_layers(text, config);
}

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  // Without a default of its own, the class takes H / N for the head (modeling: getattr(config,
  // "head_dim", ...)).
  ModelConfig config =
      read_common(file, {.num_key_value_heads = 4, .max_position_embeddings = 32768});
  ConfigReader& text = file.text();
  config.qk_norm = true;
  config.attention_bias = text.boolean_or("attention_bias", false);
  config.output_bias = config.attention_bias;
  const bool use_window = text.boolean_or("use_sliding_window", false);
  const std::optional<std::int64_t> window = read_window(text, 4096);
  for (LayerConfig& layer : config.layers) {
    layer.sliding_window = use_window ? window.value_or(0) : 0;
  }
  read_experts(text, config);
  config.ropes = {read_rope(text, config, {})};
  file.finish(config, kInert);
  return config;
}

}  // namespace

const ArchSpec kQwen3MoeArch = {.model_type = "qwen3_moe",
                                .architectures = kNames,
                                .rules = kRules,
                                .read_config = read_config,
                                .buffers = kRotaryBuffers};

}  // namespace mg
