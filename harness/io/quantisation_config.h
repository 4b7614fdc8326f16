// quantization_config of config.json for the methods whose weights are read here: GPTQ, AWQ, FP8,
// MXFP4, compressed-tensors.  A method, format, version or width that is not known is an error that
// names it, never a default.  Not for: bitsandbytes, which describes each weight beside it, or the
// tensors themselves (scaled_weights.h).  Tested in tests/io/quantised.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

class PythonRegex;

enum class QuantMethod : std::uint8_t { kGptq, kAwq, kFp8, kMxfp4, kCompressedTensors };

/// How the modules of one config group of compressed-tensors are stored.
struct WeightScheme {
  enum class Strategy : std::uint8_t { kTensor, kChannel, kGroup, kBlock };

  std::string group;  // "group_0"
  bool packed = false;
  bool is_float = false;
  bool symmetric = true;
  bool group_order = false;  // actorder "group": weight_g_idx says which group a column is in
  std::int64_t bits = 8;
  Strategy strategy = Strategy::kTensor;
  std::int64_t group_size = 0;
  std::array<std::int64_t, 2> block = {};
};

/// Names of modules: as they are, and patterns ("re:...").
class ModuleNames {
 public:
  ModuleNames() = default;
  /// Throws Error "regex.syntax" naming `where`.
  ModuleNames(const std::vector<std::string>& names, const std::string& where);

  bool has_name(std::string_view module) const;
  bool has_match(std::string_view module) const;
  bool contains(std::string_view module) const { return has_name(module) || has_match(module); }

 private:
  std::vector<std::string> names_;
  std::vector<std::shared_ptr<const PythonRegex>> patterns_;
};

struct QuantisationConfig {
  QuantMethod method = QuantMethod::kGptq;
  // GPTQ and AWQ.
  std::int64_t bits = 4;
  std::int64_t group_size = 128;  // -1: one group of all inputs
  bool act_order = false;         // GPTQ desc_act: columns belong to groups by g_idx alone
  bool zeros_less_one = false;    // GPTQ's first format stores zeros less one
  // FP8.
  std::optional<std::array<std::int64_t, 2>> block;  // without: a scale per tensor or per row
  bool exponent_scales = false;                      // scale_fmt ue8m0: U8 scales are exponents
  // compressed-tensors.
  struct Group {
    ModuleNames targets;
    bool linear = false;  // by the class: "Linear"
    WeightScheme scheme;
  };
  std::vector<Group> groups;
  ModuleNames ignore;

  /// The scheme of `module`; nullptr where no group has it or `ignore` does.  As the library
  /// chooses: a name before a pattern before a class.
  const WeightScheme* scheme_of(std::string_view module) const;
};

/// quantization_config of a model's config.json, at the root or in text_config; nullptr without
/// one.
const nlohmann::json* find_quantization_config(const nlohmann::json& config);

/// Whether `quantization` is bitsandbytes', by its method or by the switches of files of 2023.
bool is_bitsandbytes(const nlohmann::json& quantization);

/// Throws Error "quantised.config" naming `where` and the key, where the value means nothing, and
/// "quantised.unsupported" where it has a meaning that cannot be read here.
QuantisationConfig parse_quantisation_config(const nlohmann::json& quantization,
                                             const std::string& where);

}  // namespace mg
