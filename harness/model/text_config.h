// The parts of config.json that all decoder families share, with what transformers' configuration
// classes assume for absent keys as values.  A family's file (arch/*.cc) calls these and adds its
// own.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>

#include "harness/model/config.h"
#include "harness/model/config_reader.h"
#include "harness/model/rope_config.h"

namespace mg {

/// What a family's configuration class (transformers 5.23, models/*/configuration_*.py) assumes for
/// absent keys. transformers leaves a key out of a file only when it equals these
/// (PreTrainedConfig.to_diff_dict). Sizes that decide shapes (hidden_size, ...) have class defaults
/// there too, but few files rely on them (Gemma 3's with a vision tower do): required.
struct FamilyDefaults {
  // Required where nothing is given here.
  std::optional<std::int64_t> vocab_size = {};
  std::optional<std::int64_t> num_attention_heads = {};
  std::optional<std::int64_t> num_key_value_heads = {};  // nothing: as many as heads
  std::optional<std::int64_t> head_dim = {};             // nothing: H / N
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  std::string_view activation_key = "hidden_act";
  std::string_view activation = "silu";
};

/// A config file being read: the root object, and the text part where one is nested.
class ConfigFile {
 public:
  ConfigFile(const nlohmann::json& config, std::string_view file);

  ConfigReader& root() { return root_; }
  /// text_config where there is one, else the root.
  ConfigReader& text() { return nested_ ? *nested_ : root_; }
  bool nested() const { return nested_.has_value(); }

  /// Adds what nobody read to config.unknown_keys / neutral_keys.  `inert` lists the family's keys
  /// that change no logit, beside those common to all.
  void finish(ModelConfig& config, std::span<const std::string_view> inert);

 private:
  ConfigReader root_;
  std::optional<ConfigReader> nested_;
};

/// model_type, architecture, dtype, quant_method: what every file has, whatever its family calls
/// its sizes.
ModelConfig read_identity(ConfigFile& file);
/// tie_word_embeddings at the root or in text_config; `fallback` is the class default.
bool read_tied(ConfigFile& file, bool fallback);
/// A number of layers, at most 4096.
std::int64_t read_layer_count(ConfigReader& text, std::string_view key);

/// read_identity(), then what names and shapes depend on: sizes, heads, layers, tied head.
/// Throws Error "config.*".
ModelConfig read_sizes(ConfigFile& file, const FamilyDefaults& defaults);

/// read_sizes(), then norm and activation; layers all full attention.  Throws Error "config.*".
ModelConfig read_common(ConfigFile& file, const FamilyDefaults& defaults);

/// Sets the layers' sliding window from `layer_types`, or where it is absent from `sliding(l)`.
/// A window of nothing makes all layers full.
void apply_layer_types(ConfigReader& text, ModelConfig& config, std::optional<std::int64_t> window,
                       bool (*sliding)(std::int64_t layer, std::int64_t parameter),
                       std::int64_t parameter);

/// The Qwen family's window: use_sliding_window, sliding_window, max_window_layers, layer_types.
/// `window_layers_default`: max_window_layers of the class.
void read_qwen_windows(ConfigReader& text, ModelConfig& config, std::int64_t window_layers_default);

/// Which layers have experts, as the Qwen family says it: decoder_sparse_step, mlp_only_layers.
void read_sparse_layers(ConfigReader& text, ModelConfig& config);

/// sliding_window where the key may be absent (the class default), null (none) or a size.
std::optional<std::int64_t> read_window(ConfigReader& text, std::optional<std::int64_t> absent);

/// By transformers' names (activations.ACT2CLS).  Throws Error "config.unknown-value" with the
/// nearest name.
Activation read_activation(ConfigReader& reader, std::string_view key, std::string_view fallback);

/// Throws Error "config.unsupported" unless the key is absent, null or false.
void require_false(ConfigReader& reader, std::string_view key, std::string_view hint);

}  // namespace mg
