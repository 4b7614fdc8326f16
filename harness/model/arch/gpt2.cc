// GPT-2: layer norms with biases, learned positions, q, k, v in one matrix, matrices stored [in,
// out] (Conv1D). transformers: models/gpt2/configuration_gpt2.py, modeling_gpt2.py,
// pytorch_utils.Conv1D.
#include <cmath>

#include "harness/model/arch/archs.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"GPT2LMHeadModel"});

constexpr std::array kRules = std::to_array<TensorRule>({
    {Role::kEmbedTokens, "transformer.wte.weight", "V, H", Layout::kEmbedding},
    {Role::kEmbedPositions, "transformer.wpe.weight", "P, H", Layout::kEmbedding},
    {Role::kInputNorm, "transformer.h.{l}.ln_1.weight", "H", Layout::kVector},
    {Role::kInputNormBias, "transformer.h.{l}.ln_1.bias", "H", Layout::kVector},
    // Columns: H of q, then H of k, then H of v.
    {Role::kQkvProj, "transformer.h.{l}.attn.c_attn.weight", "H, 3*H", Layout::kConv1D},
    {Role::kQkvBias, "transformer.h.{l}.attn.c_attn.bias", "3*H", Layout::kVector},
    {Role::kOProj, "transformer.h.{l}.attn.c_proj.weight", "H, H", Layout::kConv1D},
    {Role::kOBias, "transformer.h.{l}.attn.c_proj.bias", "H", Layout::kVector},
    {Role::kMlpNorm, "transformer.h.{l}.ln_2.weight", "H", Layout::kVector},
    {Role::kMlpNormBias, "transformer.h.{l}.ln_2.bias", "H", Layout::kVector},
    {Role::kUpProj, "transformer.h.{l}.mlp.c_fc.weight", "H, I", Layout::kConv1D},
    {Role::kUpBias, "transformer.h.{l}.mlp.c_fc.bias", "I", Layout::kVector},
    {Role::kDownProj, "transformer.h.{l}.mlp.c_proj.weight", "I, H", Layout::kConv1D},
    {Role::kDownBias, "transformer.h.{l}.mlp.c_proj.bias", "H", Layout::kVector},
    {Role::kFinalNorm, "transformer.ln_f.weight", "H", Layout::kVector},
    {Role::kFinalNormBias, "transformer.ln_f.bias", "H", Layout::kVector},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_untied},
    {Role::kLmHead, "lm_head.weight", "V, H", Layout::kLinear, is_tied, /*optional=*/true},
});

// The causal mask and its fill value, buffers of old versions.
constexpr std::array kBuffers =
    std::to_array<std::string_view>({".attn.bias", ".attn.masked_bias"});

// The summary_* keys belong to a class with another head; upcasting changes the order of
// operations, not the result.
constexpr std::array kInert = std::to_array<std::string_view>(
    {"n_ctx", "output_past", "reorder_and_upcast_attn", "summary_activation",
     "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj"});

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  ModelConfig config = read_identity(file);
  ConfigReader& root = file.root();
  config.vocab_size = root.dimension("vocab_size");
  config.hidden_size = root.dimension("n_embd");
  config.num_hidden_layers = read_layer_count(root, "n_layer");
  config.num_attention_heads = root.dimension("n_head");
  if (config.hidden_size % config.num_attention_heads != 0) {
    root.fail_unsupported("n_head", "a divisor of n_embd",
                          "take the value from the base model's config.json");
  }
  config.num_key_value_heads = config.num_attention_heads;
  config.head_dim = config.hidden_size / config.num_attention_heads;
  config.intermediate_size = root.dimension_or("n_inner", 4 * config.hidden_size);
  config.max_position_embeddings = root.dimension_or("n_positions", 1024);
  config.norm = NormKind::kLayerNorm;
  config.norm_eps = root.positive_or("layer_norm_epsilon", 1e-5, true);
  config.activation = read_activation(root, "activation_function", "gelu_new");
  config.tie_word_embeddings = read_tied(file, true);
  config.gated_mlp = false;
  config.attention_bias = true;
  config.output_bias = true;
  config.mlp_bias = true;
  config.packed_qkv = true;
  config.conv1d = true;
  config.learned_positions = true;
  config.attention_scale = root.boolean_or("scale_attn_weights", true)
                               ? 1.0 / std::sqrt(static_cast<double>(config.head_dim))
                               : 1.0;
  require_false(root, "scale_attn_by_inverse_layer_idx", "scores scaled by layer are not computed");
  require_false(root, "add_cross_attention", "only decoder-only models are known");
  config.layers.assign(static_cast<std::size_t>(config.num_hidden_layers), {.use_rope = false});
  file.finish(config, kInert);
  return config;
}

}  // namespace

const ArchSpec kGpt2Arch = {.model_type = "gpt2",
                            .architectures = kNames,
                            .rules = kRules,
                            .read_config = read_config,
                            .base_prefix = "transformer.",
                            .buffers = kBuffers};

}  // namespace mg
