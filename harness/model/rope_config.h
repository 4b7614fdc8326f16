// Reads rotary-embedding parameters from both generations of config files: `rope_theta` +
// `rope_scaling` (transformers 4) and `rope_parameters` (transformers 5), flat or one object per
// layer type. Rules and defaults: transformers 5.23, modeling_rope_utils.RotaryEmbeddingConfigMixin
// and ROPE_INIT_FUNCTIONS.
#pragma once

#include "harness/model/config.h"
#include "harness/model/config_reader.h"

namespace mg {

/// What a family adds to the common rules.
struct RopeRules {
  double default_theta = 10000.0;
  bool partial = false;         // the family rotates only part of each head (Phi-3)
  bool longrope_alias = false;  // "su" and "yarn" are old names of longrope (Phi3Config)
  bool mrope = false;           // mrope_section is expected (Qwen2-VL)
  // The class itself holds original_max_position_embeddings, beside the rope object, with this
  // default (Phi-3).
  std::optional<std::int64_t> class_original_length = {};
};

/// The one rope of all layers.  `config` needs head_dim and max_position_embeddings.  Keys that
/// nothing read are added to config.unknown_keys.  Throws Error "config.*"; "config.conflict" where
/// the two generations disagree.
RopeConfig read_rope(ConfigReader& text, ModelConfig& config, const RopeRules& rules);

/// Gemma 3: [0] for full_attention, [1] for sliding_attention layers
/// (Gemma3TextConfig.convert_rope_params_to_dict).
std::vector<RopeConfig> read_gemma3_ropes(ConfigReader& text, ModelConfig& config);

}  // namespace mg
