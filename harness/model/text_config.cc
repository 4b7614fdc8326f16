#include "harness/model/text_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "kernels/core/half.h"

namespace mg {
namespace {

using nlohmann::json;

constexpr std::int64_t kMostLayers = 4096;

// Keys that change no logit of an evaluated prompt: bookkeeping, token ids, dropout (training),
// generation settings that transformers 4 kept in config.json, and settings of how outputs are
// returned.
constexpr std::array kInertKeys = std::to_array<std::string_view>({
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attn_implementation",
    "auto_map",
    "attention_dropout",
    "attn_pdrop",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_implementation",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    // Slices the same product in transformers 4, unread in 5.
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "transformers.js_config",
    "top_k",
    "top_p",
    "torchscript",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
});

constexpr std::array kActivationNames = std::to_array<std::string_view>(
    {"silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "relu"});
constexpr std::array kActivations = std::to_array<Activation>(
    {Activation::kSilu, Activation::kSilu, Activation::kGeluErf, Activation::kGeluTanh,
     Activation::kGeluTanh, Activation::kGeluTanh, Activation::kQuickGelu, Activation::kRelu});

std::string read_dtype(ConfigFile& file) {
  // transformers 5 writes "dtype", 4 "torch_dtype"; where both are, the first counts
  // (PreTrainedConfig). A root that says nothing leaves it to text_config.
  std::string dtype;
  for (ConfigReader* reader : {&file.text(), &file.root()}) {
    const std::optional<std::string> old_key = reader->text("torch_dtype");
    const std::optional<std::string> new_key = reader->text("dtype");
    if (new_key || old_key) {
      dtype = new_key ? *new_key : *old_key;
    }
  }
  return dtype;
}

std::string read_architecture(ConfigReader& root) {
  const std::optional<std::vector<std::string>> names = root.texts("architectures");
  return names && !names->empty() ? names->front() : std::string();
}

void read_heads(ConfigReader& text, ModelConfig& config, const FamilyDefaults& defaults) {
  config.num_attention_heads =
      defaults.num_attention_heads
          ? text.dimension_or("num_attention_heads", *defaults.num_attention_heads)
          : text.dimension("num_attention_heads");
  config.num_key_value_heads = text.dimension_or(
      "num_key_value_heads", defaults.num_key_value_heads.value_or(config.num_attention_heads));
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    text.fail_unsupported(
        "num_key_value_heads",
        "a divisor of num_attention_heads = " + std::to_string(config.num_attention_heads),
        "take the value from the base model's config.json");
  }
  if (!text.has_value("head_dim") && !defaults.head_dim &&
      config.hidden_size % config.num_attention_heads != 0) {
    text.fail_missing("head_dim", "given, as num_attention_heads does not divide hidden_size");
  }
  config.head_dim =
      text.dimension_or("head_dim", defaults.head_dim.value_or(std::max<std::int64_t>(
                                        1, config.hidden_size / config.num_attention_heads)));
}

void append(std::vector<std::string>& to, const std::vector<std::string>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

double embedding_scale_for(std::int64_t hidden_size, DType dtype) {
  const auto root = static_cast<float>(std::sqrt(static_cast<double>(hidden_size)));
  switch (dtype) {
    case DType::kF16:
      return static_cast<double>(half_to_float(float_to_half(root)));
    case DType::kBF16:
      return static_cast<double>(bf16_to_float(float_to_bf16(root)));
    default:
      return static_cast<double>(root);
  }
}

ConfigFile::ConfigFile(const json& config, std::string_view file) : root_(config, file) {
  nested_ = root_.object("text_config");
}

void ConfigFile::finish(ModelConfig& config, std::span<const std::string_view> inert) {
  std::vector<std::string_view> known(kInertKeys.begin(), kInertKeys.end());
  known.insert(known.end(), inert.begin(), inert.end());
  if (nested_) {
    // transformers 4.52 and later write VLM files with the text keys at both levels; text_config is
    // what counts. A copy that says the same is read as such, one that differs is left over.
    for (const auto& [key, value] : root_.raw().items()) {
      const auto it = nested_->raw().find(key);
      if (it != nested_->raw().end() && *it == value) {
        root_.consume(key);
      }
    }
    const ConfigReader::Leftovers left = nested_->leftovers(known);
    append(config.unknown_keys, left.unknown);
    append(config.neutral_keys, left.neutral);
  }
  const ConfigReader::Leftovers left = root_.leftovers(known);
  append(config.unknown_keys, left.unknown);
  append(config.neutral_keys, left.neutral);
  std::sort(config.unknown_keys.begin(), config.unknown_keys.end());
  std::sort(config.neutral_keys.begin(), config.neutral_keys.end());
}

ModelConfig read_identity(ConfigFile& file) {
  ModelConfig config;
  ConfigReader& text = file.text();
  config.model_type = file.root().text("model_type").value_or("");
  text.consume("model_type");
  config.architecture = read_architecture(file.root());
  text.consume("architectures");
  config.dtype = read_dtype(file);
  for (ConfigReader* reader : {&text, &file.root()}) {
    if (std::optional<ConfigReader> quantization = reader->object("quantization_config")) {
      config.quant_method = quantization->text("quant_method").value_or("unnamed");
    }
  }
  require_false(file.root(), "is_encoder_decoder", "only decoder-only models are known");
  return config;
}

bool read_tied(ConfigFile& file, bool fallback) {
  // Files written before transformers 5 carry the flag in text_config; 5 reads the root and falls
  // back to it (Qwen2VLConfig.__post_init__).
  const std::optional<bool> at_root = file.root().boolean("tie_word_embeddings");
  const std::optional<bool> in_text = file.text().boolean("tie_word_embeddings");
  if (at_root || in_text) {
    return at_root.value_or(false) || in_text.value_or(false);
  }
  return fallback;
}

std::int64_t read_layer_count(ConfigReader& text, std::string_view key) {
  const std::int64_t layers = text.dimension(key);
  if (layers > kMostLayers) {
    text.fail_unsupported(key, "at most " + std::to_string(kMostLayers),
                          "take the value from the base model's config.json");
  }
  return layers;
}

ModelConfig read_sizes(ConfigFile& file, const FamilyDefaults& defaults) {
  ModelConfig config = read_identity(file);
  ConfigReader& text = file.text();
  config.vocab_size = defaults.vocab_size ? text.dimension_or("vocab_size", *defaults.vocab_size)
                                          : text.dimension("vocab_size");
  config.hidden_size = text.dimension("hidden_size");
  config.intermediate_size = text.dimension("intermediate_size");
  config.num_hidden_layers = read_layer_count(text, "num_hidden_layers");
  read_heads(text, config, defaults);
  config.max_position_embeddings =
      text.dimension_or("max_position_embeddings", defaults.max_position_embeddings);
  config.tie_word_embeddings = read_tied(file, defaults.tie_word_embeddings);
  config.layers.resize(static_cast<std::size_t>(config.num_hidden_layers));
  return config;
}

ModelConfig read_common(ConfigFile& file, const FamilyDefaults& defaults) {
  ModelConfig config = read_sizes(file, defaults);
  ConfigReader& text = file.text();
  config.norm_eps = text.positive_or("rms_norm_eps", defaults.rms_norm_eps, true);
  config.activation = read_activation(text, defaults.activation_key, defaults.activation);
  config.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  return config;
}

void apply_layer_types(ConfigReader& text, ModelConfig& config, std::optional<std::int64_t> window,
                       bool (*sliding)(std::int64_t, std::int64_t), std::int64_t parameter) {
  const std::optional<std::vector<std::string>> types = text.texts("layer_types");
  if (types && types->size() != config.layers.size()) {
    text.fail_unsupported(
        "layer_types",
        "one entry for each of num_hidden_layers = " + std::to_string(config.layers.size()),
        "take the value from the base model's config.json");
  }
  constexpr std::array<std::string_view, 2> kKnown = {"full_attention", "sliding_attention"};
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    bool slides = sliding != nullptr && sliding(static_cast<std::int64_t>(l), parameter);
    if (types) {
      const std::string& type = (*types)[l];
      if (std::find(kKnown.begin(), kKnown.end(), type) == kKnown.end()) {
        text.fail_unknown("layer_types", type, kKnown);
      }
      slides = type == kKnown[1];
    }
    if (types && slides && !window) {
      text.fail_unsupported("sliding_window", "a size, as layer_types names sliding layers",
                            "take the value from the base model's config.json");
    }
    config.layers[l].sliding_window = slides ? window.value_or(0) : 0;
  }
}

std::optional<std::int64_t> read_window(ConfigReader& text, std::optional<std::int64_t> absent) {
  if (text.has_value("sliding_window")) {
    return text.dimension("sliding_window");
  }
  const bool null = text.contains("sliding_window");
  text.consume("sliding_window");
  return null ? std::nullopt : absent;
}

void read_qwen_windows(ConfigReader& text, ModelConfig& config,
                       std::int64_t window_layers_default) {
  // sliding_window counts only with use_sliding_window (Qwen2Config.__post_init__).
  constexpr std::int64_t kClassWindow = 4096;
  const bool use = text.boolean_or("use_sliding_window", false);
  const std::optional<std::int64_t> window = read_window(text, kClassWindow);
  const std::int64_t full_layers =
      text.integer("max_window_layers").value_or(window_layers_default);
  apply_layer_types(
      text, config, use ? window : std::nullopt,
      [](std::int64_t layer, std::int64_t full) { return layer >= full; }, full_layers);
}

void read_sparse_layers(ConfigReader& text, ModelConfig& config) {
  const std::int64_t step = text.dimension_or("decoder_sparse_step", 1);
  const std::vector<std::int64_t> dense =
      text.integers("mlp_only_layers").value_or(std::vector<std::int64_t>{});
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    config.layers[static_cast<std::size_t>(l)].moe =
        std::find(dense.begin(), dense.end(), l) == dense.end() && (l + 1) % step == 0;
  }
}

Activation read_activation(ConfigReader& reader, std::string_view key, std::string_view fallback) {
  const std::string name = reader.text(key).value_or(std::string(fallback));
  for (std::size_t i = 0; i < kActivationNames.size(); ++i) {
    if (name == kActivationNames[i]) {
      return kActivations[i];
    }
  }
  reader.fail_unknown(key, name, kActivationNames);
}

void require_false(ConfigReader& reader, std::string_view key, std::string_view hint) {
  if (reader.boolean_or(key, false)) {
    reader.fail_unsupported(key, "false", hint);
  }
}

}  // namespace mg
