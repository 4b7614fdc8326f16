// What a forward pass needs to know of config.json, the same for every architecture: architectures
// differ in values, not in code.  Read by each ArchSpec (arch.h) from both generations of
// transformers' config files.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/dtype.h"

namespace mg {

using Activation = ActivationKind;
enum class NormKind { kRms, kRmsPlusOne /* Gemma: x * (1 + w) */, kLayerNorm };

/// Rotary embedding of one kind of layer (transformers.modeling_rope_utils).
struct RopeConfig {
  // kMrope: kDefault's frequencies.  kAxial, of vision towers: half of the pairs turn by the row,
  // half by the column, each with the frequencies of half a head.
  enum class Kind { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongRope, kMrope, kAxial };
  Kind kind = Kind::kDefault;
  double theta = 10000.0;
  double partial_rotary_factor = 1.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;   // llama3
  double high_freq_factor = 4.0;  // llama3
  // llama3, yarn, longrope: the length before scaling; dynamic: the length from which the base
  // grows (transformers takes max_position_embeddings for it).
  std::int64_t original_max_position_embeddings = 0;
  // Multiplies cos and sin; always filled in by the reader (derived from factor where the file
  // leaves it out).
  double attention_factor = 1.0;
  double beta_fast = 32.0;  // yarn
  double beta_slow = 1.0;
  double mscale = 0.0;
  double mscale_all_dim = 0.0;
  bool truncate = true;              // yarn
  std::vector<double> short_factor;  // longrope
  std::vector<double> long_factor;
  // How many pairs of a head turn by time, by height and by width; empty: positions have one axis.
  std::vector<std::int64_t> mrope_section;

  bool operator==(const RopeConfig&) const = default;
};

/// A vision tower.  Keys are Qwen2-VL's (transformers.Qwen2VLVisionConfig); rows without a forward
/// pass fill in what their names and shapes need.
struct VisionConfig {
  std::int64_t depth = 0;
  std::int64_t embed_dim = 0;
  std::int64_t hidden_size = 0;  // of the merger's output: the text model's H
  std::int64_t num_heads = 0;
  std::int64_t mlp_ratio = 0;
  std::int64_t intermediate_size = 0;  // of a block's MLP
  std::int64_t in_channels = 0;
  std::int64_t patch_size = 0;
  std::int64_t temporal_patch_size = 0;
  std::int64_t spatial_merge_size = 0;
  NormKind norm = NormKind::kLayerNorm;
  Activation activation = Activation::kQuickGelu;
  bool gated_mlp = false;
  double rope_theta = 10000.0;
  // Qwen2.5-VL: attention within squares of this many pixels, but for these blocks; 0: whole
  // frames.
  std::int64_t window_size = 0;
  std::vector<std::int64_t> full_attention_blocks;
  // Qwen2.5-VL: positions of a clip's frames advance by this times the seconds between them; 0:
  // by 1.
  std::int64_t tokens_per_second = 0;
  std::int64_t image_token_id = -1;
  std::int64_t video_token_id = -1;
  std::int64_t vision_start_token_id = -1;
  std::int64_t vision_end_token_id = -1;

  bool operator==(const VisionConfig&) const = default;
};

struct LayerConfig {
  std::int64_t sliding_window =
      0;                 // 0: full causal attention; W: a query sees itself and the W-1 before it
  int rope = 0;          // index into ModelConfig::ropes
  bool use_rope = true;  // NoPE layers have none
  bool moe = false;
  bool in_parts = false;  // vision: rows attend within the parts of a frame (windows)

  bool operator==(const LayerConfig&) const = default;
};

struct ModelConfig {
  std::string model_type;    // "qwen2"
  std::string architecture;  // "Qwen2ForCausalLM"
  std::string dtype;         // declared: "float16"; empty if absent

  std::int64_t vocab_size = 0;           // V
  std::int64_t hidden_size = 0;          // H
  std::int64_t intermediate_size = 0;    // I
  std::int64_t num_hidden_layers = 0;    // L
  std::int64_t num_attention_heads = 0;  // N
  std::int64_t num_key_value_heads = 0;  // G
  std::int64_t head_dim = 0;             // D
  std::int64_t max_position_embeddings = 0;

  NormKind norm = NormKind::kRms;
  double norm_eps = 1e-6;
  bool post_norms = false;  // Gemma: norms after attention and after the MLP as well
  bool qk_norm = false;     // Qwen3, Gemma 3: norm over each head of q and k
  Activation activation = Activation::kSilu;
  bool gated_mlp = true;
  bool attention_bias = false;  // biases of q, k, v
  bool output_bias = false;     // bias of o_proj
  bool mlp_bias = false;
  bool packed_qkv = false;  // one matrix holds q, k, v
  bool packed_gate_up = false;
  bool packed_experts =
      false;            // stored [E, 2M, H] and [E, H, M]; resolve_model() sets it from the names
  bool conv1d = false;  // matrices stored [in, out] (GPT-2)
  bool learned_positions = false;
  bool tie_word_embeddings = false;
  // Gemma: sqrt(H) in float32, then rounded to the embedding's dtype, as transformers does
  // (modeling_gemma3.Gemma3TextScaledWordEmbedding); by the declared dtype until resolve_model()
  // knows the stored one.
  double embedding_scale = 1.0;
  double attention_scale = 0.0;    // 1/sqrt(D), or 1/sqrt(query_pre_attn_scalar)
  double attention_softcap = 0.0;  // 0: none
  bool causal = true;              // false: a vision tower
  double final_softcap = 0.0;

  std::int64_t num_experts = 0;  // E
  std::int64_t num_experts_per_tok = 0;
  std::int64_t moe_intermediate_size = 0;
  bool norm_topk_prob = false;

  std::vector<RopeConfig> ropes;
  std::vector<LayerConfig> layers;  // L entries

  std::optional<VisionConfig> vision;
  // Of rows without a forward pass: only what names and shapes depend on was read, and nothing here
  // says whether two configs compute the same.
  bool sizes_only = false;
  // Further sizes of such rows, by the word their rules use: {"q.rank", 1536}.
  std::map<std::string, std::int64_t, std::less<>> sizes;
  std::string quant_method;  // quantization_config.quant_method, empty without

  // Keys not consumed and not known to be inert (DESIGN.md section 6), as paths: "text_config.foo".
  std::vector<std::string>
      unknown_keys;  // with a value that says something: a computation may be missing
  std::vector<std::string> neutral_keys;  // null, false, 0 or empty: a note

  bool operator==(const ModelConfig&) const = default;
};

/// Rounds Gemma's sqrt(H) the way an embedding of this dtype does.
double embedding_scale_for(std::int64_t hidden_size, DType dtype);

}  // namespace mg
