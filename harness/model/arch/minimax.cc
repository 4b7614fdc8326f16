// MiniMax: Text-01 and M1 (linear attention in most layers) and M2 (full attention, norms over the
// whole of q and k), all with Mixtral's names for experts.  Names and shapes of the Hub's files,
// which vLLM's loader asks for.  transformers: models/minimax/, models/minimax_m2/,
// conversion_mapping "mixtral"; vLLM: model_executor/models/minimax_text_01.py, minimax_m2.py.
#include "harness/model/arch/header_rules.h"

namespace mg {
namespace {

constexpr std::array kM2Names = std::to_array<std::string_view>({"MiniMaxM2ForCausalLM"});
constexpr std::array kM1Names = std::to_array<std::string_view>(
    {"MiniMaxM1ForCausalLM", "MiniMaxText01ForCausalLM", "MiniMaxForCausalLM"});

// LayerConfig::use_rope stands for full attention: linear attention has no rotary embedding.
bool is_full(const ModelConfig& config, std::int64_t layer) {
  return config.layers[static_cast<std::size_t>(layer)].use_rope;
}
bool is_linear(const ModelConfig& config, std::int64_t layer) {
  return !is_full(config, layer);
}
bool has_correction(const ModelConfig& config, std::int64_t) {
  return config.sizes.at("correction") != 0;
}

constexpr std::array kMoeRules = std::to_array<TensorRule>({
    {Role::kInputNorm, "model.layers.{l}.input_layernorm.weight", "H", Layout::kVector},
    {Role::kMlpNorm, "model.layers.{l}.post_attention_layernorm.weight", "H", Layout::kVector},
    {Role::kRouter, "model.layers.{l}.block_sparse_moe.gate.weight", "E, H", Layout::kLinear},
    {Role::kExpertGateProj, "model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight", "I, H",
     Layout::kLinear},
    {Role::kExpertDownProj, "model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight", "H, I",
     Layout::kLinear},
    {Role::kExpertUpProj, "model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight", "I, H",
     Layout::kLinear},
    {Role::kOther, "model.layers.{l}.block_sparse_moe.e_score_correction_bias", "E",
     Layout::kVector, has_correction},
});

constexpr std::array kFullRules = std::to_array<TensorRule>({
    {Role::kQProj, "model.layers.{l}.self_attn.q_proj.weight", "N*D, H", Layout::kLinear, is_full},
    {Role::kKProj, "model.layers.{l}.self_attn.k_proj.weight", "G*D, H", Layout::kLinear, is_full},
    {Role::kVProj, "model.layers.{l}.self_attn.v_proj.weight", "G*D, H", Layout::kLinear, is_full},
    {Role::kOProj, "model.layers.{l}.self_attn.o_proj.weight", "H, N*D", Layout::kLinear, is_full},
});

constexpr std::array kLinearRules = std::to_array<TensorRule>({
    {Role::kOther, "model.layers.{l}.self_attn.qkv_proj.weight", "3*N*D, H", Layout::kLinear,
     is_linear},
    {Role::kOther, "model.layers.{l}.self_attn.output_gate.weight", "N*D, H", Layout::kLinear,
     is_linear},
    {Role::kOther, "model.layers.{l}.self_attn.out_proj.weight", "H, N*D", Layout::kLinear,
     is_linear},
    {Role::kOther, "model.layers.{l}.self_attn.norm.weight", "N*D", Layout::kVector, is_linear},
});

inline bool has_norms(const ModelConfig& config, std::int64_t) {
  return config.qk_norm;
}

constexpr std::array kNormRules = std::to_array<TensorRule>({
    {Role::kQNorm, "model.layers.{l}.self_attn.q_norm.weight", "N*D", Layout::kVector, has_norms},
    {Role::kKNorm, "model.layers.{l}.self_attn.k_norm.weight", "G*D", Layout::kVector, has_norms},
});

constexpr auto kM1Rules = joined(kOuterRules, kMoeRules, kFullRules, kLinearRules);
constexpr auto kM2Rules = joined(kOuterRules, kMoeRules, kFullRules, kNormRules);

// Computed from the config by all readers; transformers stores them.
constexpr std::array kBuffers = std::to_array<std::string_view>(
    {".rotary_emb.inv_freq", ".self_attn.slope_rate", ".self_attn.diagonal_decay",
     ".self_attn.query_decay", ".self_attn.key_decay"});

ModelConfig read_common_sizes(ConfigFile& file, const FamilyDefaults& defaults,
                              std::int64_t experts) {
  ModelConfig config = read_sizes_only(file, defaults);
  config.num_experts = read_expert_members(file.text(), experts);
  config.sizes["correction"] = 0;
  return config;
}

/// attn_type_list of the Hub (0 linear, 1 full) or layer_types of transformers.
void read_attention(ConfigReader& text, ModelConfig& config) {
  const auto list = text.integers("attn_type_list");
  const auto types = text.texts("layer_types");
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    config.layers[l].use_rope = list && l < list->size()     ? (*list)[l] != 0
                                : types && l < types->size() ? (*types)[l] == "full_attention"
                                                             : l % 2 == 0;
  }
}

ModelConfig read_m1_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config =
      read_common_sizes(file, {.num_key_value_heads = 8, .max_position_embeddings = 131072}, 8);
  read_attention(file.text(), config);
  return config;
}

ModelConfig read_m2_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_common_sizes(
      file, {.num_key_value_heads = 8, .head_dim = 128, .max_position_embeddings = 196608}, 256);
  config.qk_norm = file.text().boolean_or("use_qk_norm", true);
  config.sizes["correction"] = file.text().boolean_or("use_routing_bias", true) ? 1 : 0;
  return config;
}

/// Layers that predict further tokens, where a file has them (num_mtp_modules).
bool is_spare(const ModelConfig&, std::string_view name) {
  return name.starts_with("mtp.") || name.starts_with("model.mtp.") ||
         name.find(".mtp_modules.") != std::string_view::npos;
}

constexpr ArchSpec m1_row(std::string_view model_type) {
  return {.model_type = model_type,
          .architectures = kM1Names,
          .rules = kM1Rules,
          .read_config = read_m1_config,
          .buffers = kBuffers,
          .forward = false};
}

}  // namespace

const ArchSpec kMiniMaxArch = m1_row("minimax");
const ArchSpec kMiniMaxText01Arch = m1_row("minimax_text_01");
const ArchSpec kMiniMaxM1Arch = m1_row("minimax_m1");

const ArchSpec kMiniMaxM2Arch = {.model_type = "minimax_m2",
                                 .architectures = kM2Names,
                                 .rules = kM2Rules,
                                 .read_config = read_m2_config,
                                 .buffers = kBuffers,
                                 .forward = false,
                                 .spare = is_spare};

}  // namespace mg
