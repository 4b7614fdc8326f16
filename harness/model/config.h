// What a forward pass needs to know of config.json, the same for every architecture: architectures differ in
// values, not in code.  Read by each ArchSpec (arch.h) from both generations of transformers' config files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mg {

enum class Activation { kSilu, kGeluTanh, kGeluErf, kQuickGelu, kRelu };
enum class NormKind { kRms, kRmsPlusOne /* Gemma: x * (1 + w) */, kLayerNorm };

/// Rotary embedding of one kind of layer (transformers.modeling_rope_utils).
struct RopeConfig {
  enum class Kind { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongRope, kMrope };
  Kind kind = Kind::kDefault;
  double theta = 10000.0;
  double partial_rotary_factor = 1.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;    // llama3
  double high_freq_factor = 4.0;   // llama3
  std::int64_t original_max_position_embeddings = 0;
  double attention_factor = 0.0;   // yarn, longrope: 0 = derived from factor
  double beta_fast = 32.0;         // yarn
  double beta_slow = 1.0;
  double mscale = 0.0;
  double mscale_all_dim = 0.0;
  bool truncate = true;            // yarn
  std::vector<double> short_factor;  // longrope
  std::vector<double> long_factor;
  std::vector<std::int64_t> mrope_section;
};

struct LayerConfig {
  std::int64_t sliding_window = 0;  // 0: full causal attention; W: a query sees itself and the W-1 before it
  int rope = 0;                     // index into ModelConfig::ropes
  bool use_rope = true;             // NoPE layers have none
  bool moe = false;
};

struct ModelConfig {
  std::string model_type;    // "qwen2"
  std::string architecture;  // "Qwen2ForCausalLM"
  std::string dtype;         // declared: "float16"; empty if absent

  std::int64_t vocab_size = 0;               // V
  std::int64_t hidden_size = 0;              // H
  std::int64_t intermediate_size = 0;        // I
  std::int64_t num_hidden_layers = 0;        // L
  std::int64_t num_attention_heads = 0;      // N
  std::int64_t num_key_value_heads = 0;      // G
  std::int64_t head_dim = 0;                 // D
  std::int64_t max_position_embeddings = 0;

  NormKind norm = NormKind::kRms;
  double norm_eps = 1e-6;
  bool post_norms = false;        // Gemma: norms after attention and after the MLP as well
  bool qk_norm = false;           // Qwen3, Gemma 3: norm over each head of q and k
  Activation activation = Activation::kSilu;
  bool gated_mlp = true;
  bool attention_bias = false;    // biases of q, k, v
  bool output_bias = false;       // bias of o_proj
  bool mlp_bias = false;
  bool packed_qkv = false;        // one matrix holds q, k, v
  bool packed_gate_up = false;
  bool conv1d = false;            // matrices stored [in, out] (GPT-2)
  bool learned_positions = false;
  bool tie_word_embeddings = false;
  double embedding_scale = 1.0;   // Gemma: sqrt(H) rounded to the weights' dtype
  double attention_scale = 0.0;   // 1/sqrt(D), or 1/sqrt(query_pre_attn_scalar)
  double attention_softcap = 0.0;  // 0: none
  double final_softcap = 0.0;

  std::int64_t num_experts = 0;           // E
  std::int64_t num_experts_per_tok = 0;
  std::int64_t moe_intermediate_size = 0;
  bool norm_topk_prob = false;

  std::vector<RopeConfig> ropes;
  std::vector<LayerConfig> layers;  // L entries

  std::vector<std::string> unknown_keys;  // not neutral, not consumed, not known to be inert (DESIGN.md section 6)
};

}  // namespace mg
