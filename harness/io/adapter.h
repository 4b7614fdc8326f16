// A PEFT LoRA folder: adapter_config.json and adapter_model.safetensors, parsed but not yet attached to a base
// (harness/model/attach.h does that).  Names follow PEFT 0.21 (peft.tuners.lora.LoraConfig).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/io/safetensors.h"
#include "kernels/core/tensor_view.h"

namespace mg {

/// target_modules / exclude_modules: nothing, a list of names, or one regular expression ("all-linear" included).
struct ModuleSelector {
  enum class Kind { kNone, kList, kRegex, kAllLinear };
  Kind kind = Kind::kNone;
  std::vector<std::string> names;  // kList
  std::string regex;               // kRegex, full match
};

struct AdapterConfig {
  std::string peft_type;  // only "LORA" is accepted
  std::string base_model_name_or_path;
  std::int64_t r = 0;
  double lora_alpha = 0;
  bool use_rslora = false;
  bool use_dora = false;
  bool fan_in_fan_out = false;
  bool lora_bias = false;
  std::string bias;  // "none", "all", "lora_only"
  // In file order: PEFT takes the first key that matches "(.*\.)?(KEY)$".
  std::vector<std::pair<std::string, std::int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  ModuleSelector target_modules;
  ModuleSelector exclude_modules;
  std::vector<std::string> target_parameters;
  std::vector<std::string> modules_to_save;
  std::vector<std::int64_t> layers_to_transform;  // empty: all
  std::vector<std::string> layers_pattern;
  // trainable_token_indices: rows by module name ("embed_tokens" when the config gives a bare list).
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> trainable_token_indices;
  std::string init_lora_weights;        // as text: "true", "gaussian", "pissa_niter_4", ...
  bool init_changes_base = false;       // pissa, olora, corda, ...: the adapter is relative to a changed base
  std::vector<std::string> unsupported;  // features set that cannot be verified (aLoRA, layer_replication, ...)
  std::vector<std::string> unknown_keys;  // keys this reader does not know whose value is not neutral
};

enum class LowRankKind {
  kLinear,     // A [r, in], B [out, r]
  kEmbedding,  // A [r, V], B [H, r]
  kConv,       // kernels
  kParameter,  // target_parameters: A [E*r, d], B [d, r*E]
};

/// The low-rank pair of one module, as stored.
struct AdapterModule {
  std::string module;  // path without "base_model.model." and without the adapter's name: "model.layers.0.mlp.up_proj"
  LowRankKind kind = LowRankKind::kLinear;
  TensorView a;
  TensorView b;
  TensorView magnitude;  // DoRA's m, empty without
  TensorView bias;       // lora_bias: b of lora_B, empty without
  std::int64_t rank = 0;
  double alpha = 0;
  double scale = 0;      // alpha / r, or alpha / sqrt(r) with rsLoRA
  std::string raw_name;  // the A tensor's name in the file, for messages
};

/// A tensor that replaces the base's (modules_to_save, bias="all", ...), or rows of it (trainable tokens).
struct AdapterReplacement {
  std::string name;  // path of the replaced tensor without PEFT's wrapping: "lm_head.weight"
  TensorView value;
  std::vector<std::int64_t> rows;  // trainable_token_indices: which rows of the base `value` replaces; else empty
  bool base_copy = false;          // a "base_layer" copy, which must equal the base and changes nothing
  std::string raw_name;
};

class Adapter {
 public:
  /// Throws Error "adapter.*": pickle (with the command that converts it), ranks that disagree with the config,
  /// an A without its B, unsupported peft_type, ...; several problems of a kind are reported together.
  static Adapter open(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  const AdapterConfig& config() const { return config_; }
  const std::vector<AdapterModule>& modules() const { return modules_; }            // sorted by module
  const std::vector<AdapterReplacement>& replacements() const { return replacements_; }
  /// Names in the file that fit no known pattern.
  const std::vector<std::string>& unrecognised() const { return unrecognised_; }
  const SafetensorsFile& file() const { return *file_; }

 private:
  Adapter() = default;
  std::filesystem::path folder_;
  AdapterConfig config_;
  std::vector<AdapterModule> modules_;
  std::vector<AdapterReplacement> replacements_;
  std::vector<std::string> unrecognised_;
  std::shared_ptr<const SafetensorsFile> file_;
};

/// r_i and alpha_i of a module by PEFT's first-match rule.
std::pair<std::int64_t, double> rank_and_alpha(const AdapterConfig& config, std::string_view module);

/// Whether PEFT would wrap `module` (target_modules, exclude_modules, layers_to_transform, layers_pattern;
/// peft.tuners.tuners_utils.check_target_module_exists).
bool is_targeted(const AdapterConfig& config, std::string_view module);

}  // namespace mg
