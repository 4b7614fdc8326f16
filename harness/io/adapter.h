// A LoRA adapter, parsed but not yet attached to a base (harness/model/attach.h does that): a PEFT
// folder of adapter_config.json and adapter_model.safetensors, or the GGUF file that llama.cpp
// makes of one.  Names follow PEFT 0.21 (peft.tuners.lora.LoraConfig).
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
#include "kernels/core/error.h"
#include "kernels/core/tensor_view.h"

namespace mg {

/// target_modules / exclude_modules: nothing, a list of names, or one regular expression
/// ("all-linear" included).
struct ModuleSelector {
  enum class Kind { kNone, kList, kRegex, kAllLinear };
  Kind kind = Kind::kNone;
  std::vector<std::string> names;  // kList
  std::string regex;               // kRegex, full match
};

struct AdapterConfig {
  std::string file;       // path of adapter_config.json or the GGUF file, for messages
  std::string peft_type;  // only "LORA" is accepted
  std::string
      peft_version;  // that wrote it, empty before 0.18; decides the layout of fused experts (F25)
  std::string base_model_name_or_path;
  std::string revision;           // of the base, empty if not given
  std::string gguf_architecture;  // of the base that a GGUF adapter is for; empty for a PEFT folder
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
  // trainable_token_indices: rows by module name ("embed_tokens" when the config gives a bare
  // list).
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> trainable_token_indices;
  bool trainable_tokens_of_input = false;  // a bare list: the input embedding, whatever its name
  bool ensure_weight_tying = false;
  std::string init_lora_weights;  // as text: "true", "gaussian", "pissa_niter_4", ...
  bool init_changes_base =
      false;  // pissa, olora, corda, ...: the adapter is relative to a changed base
  std::vector<std::string>
      unsupported;  // features set that cannot be verified (aLoRA, layer_replication, ...)
  std::vector<std::string>
      unknown_keys;  // keys this reader does not know whose value is not neutral
};

enum class LowRankKind {
  kLinear,     // A [r, in], B [out, r]
  kEmbedding,  // A [r, V], B [H, r]
  kConv,       // kernels
  kParameter,  // target_parameters: A [E*r, d], B [d, r*E]
};

/// The low-rank pair of one module, as stored.
struct AdapterModule {
  // Path without "base_model.model." and without the adapter's name: "model.layers.0.mlp.up_proj".
  // kParameter: the parameter's own path, "model.layers.0.mlp.experts.gate_up_proj".
  std::string module;
  LowRankKind kind = LowRankKind::kLinear;
  TensorView a;
  TensorView b;
  TensorView magnitude;  // DoRA's m, empty without
  TensorView bias;       // lora_bias: b of lora_B, empty without
  std::int64_t rank = 0;
  double alpha = 0;
  double scale = 0;      // alpha / r, or alpha / sqrt(r) with rsLoRA
  std::string raw_name;  // the A tensor's name in the file, for messages
  // Rows of b lie as llama.cpp keeps those of q and k; attach() puts them back, which takes the
  // base's head size.
  bool interleaved_b = false;
  // kParameter only.  The file does not name the parameter; `module` is the reading of PEFT 0.19
  // and vLLM.  All parameters of this module that the config targets, in the order in which PEFT
  // wraps them, and how many wraps lie around this one in the file (0 = outermost), for readers
  // that decide by shape.
  std::vector<std::string> parameter_candidates;
  int nesting = 0;
};

/// A tensor that replaces the base's (modules_to_save, bias="all", ...), or rows of it (trainable
/// tokens).
struct AdapterReplacement {
  std::string name;  // path of the replaced tensor without PEFT's wrapping: "lm_head.weight"
  TensorView value;
  std::vector<std::int64_t>
      rows;  // trainable_token_indices: which rows of the base `value` replaces; else empty
  bool base_copy = false;  // a "base_layer" copy, which must equal the base and changes nothing
  std::string raw_name;
};

struct AdapterParts;

struct AdapterOptions {
  // True: tensors that disagree with the config do not throw, problems() has them, and modules()
  // what is left.
  bool collect_problems = false;
};

/// A tensor as the adapter's file stores it.
struct AdapterTensor {
  std::string dtype;  // "F16", "Q8_0"
  std::int64_t elements = 0;
  std::uint64_t bytes = 0;
};

class GgufFile;

class Adapter {
 public:
  /// A PEFT folder, or a file *.gguf.
  /// Throws Error "folder.*", "adapter.*", "json.*", "safetensors.*", "file.*": pickle (with the
  /// command that converts it), ranks that disagree with the config, an A without its B,
  /// unsupported peft_type, ...; all problems of config or tensors in one error.  Of a GGUF file
  /// "gguf.*" as well.
  static Adapter open(const std::filesystem::path& folder, const AdapterOptions& options = {});

  /// As it was given: the folder, or the GGUF file.
  const std::filesystem::path& folder() const { return folder_; }
  bool is_gguf() const { return gguf_ != nullptr; }
  /// The files that were read; the weights are the last.
  std::vector<std::filesystem::path> files() const;
  /// Throws Error "file.*" where the weights' file has changed since it was opened.
  void check_intact() const;
  std::vector<AdapterTensor> tensors() const;
  const AdapterConfig& config() const { return config_; }
  const std::vector<AdapterModule>& modules() const { return modules_; }  // sorted by module
  const std::vector<AdapterReplacement>& replacements() const { return replacements_; }
  /// Names in the file that fit no known pattern.
  const std::vector<std::string>& unrecognised() const { return unrecognised_; }
  /// What disagrees between tensors and config; empty unless AdapterOptions::collect_problems.
  const std::vector<ErrorParts>& problems() const { return problems_; }
  /// The adapter's name inside tensor names ("lora_A.default.weight"), empty where they have none,
  /// as PEFT saves.
  const std::string& name_in_file() const { return name_in_file_; }

 private:
  Adapter() = default;
  static Adapter open_gguf(const std::filesystem::path& path, const AdapterOptions& options);
  void take(AdapterParts parts, const AdapterOptions& options);

  std::filesystem::path folder_;
  AdapterConfig config_;
  std::vector<AdapterModule> modules_;
  std::vector<AdapterReplacement> replacements_;
  std::vector<std::string> unrecognised_;
  std::vector<ErrorParts> problems_;
  std::string name_in_file_;
  std::shared_ptr<const SafetensorsFile> file_;  // of a PEFT folder
  std::shared_ptr<const GgufFile> gguf_;         // or this
  std::shared_ptr<const void> numbers_;          // what the views of a GGUF file's codes point into
};

/// Whether the path is a GGUF file that says of itself that it is an adapter.  Throws Error
/// "gguf.*" for a *.gguf file that cannot be read.
bool is_gguf_adapter(const std::filesystem::path& path);

/// r_i and alpha_i of a module by PEFT's first-match rule.  ModuleMatcher (adapter_match.h) is
/// faster for many modules.
std::pair<std::int64_t, double> rank_and_alpha(const AdapterConfig& config,
                                               std::string_view module);

/// Whether PEFT would wrap `module` (target_modules, exclude_modules, modules_to_save,
/// layers_to_transform, layers_pattern; peft.tuners.tuners_utils.check_target_module_exists).  For
/// "all-linear" the answer holds for linear layers other than the output head, which PEFT leaves
/// out by the model's class, not by a name.
bool is_targeted(const AdapterConfig& config, std::string_view module);

}  // namespace mg
