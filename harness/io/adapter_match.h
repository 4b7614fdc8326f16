// PEFT's rules for which module an adapter touches and with which rank and alpha, with patterns
// compiled once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/io/python_regex.h"

namespace mg {

/// Whether `name` is `module` or its last components: "q_proj" of "layers.0.self_attn.q_proj".
bool ends_with_component(std::string_view module, std::string_view name);

class ModuleMatcher {
 public:
  /// Throws Error "regex.syntax" naming the config's key.  `config` must outlive this.
  explicit ModuleMatcher(const AdapterConfig& config);

  bool is_targeted(std::string_view module) const;
  std::pair<std::int64_t, double> rank_and_alpha(std::string_view module) const;
  /// Whether `module` is one of modules_to_save or lies under one.
  bool is_saved_whole(std::string_view module) const;

 private:
  // A pattern between fixed ends, compared byte by byte where it has no operator but the dot.
  struct Tail {
    std::string plain;
    std::optional<PythonRegex> regex;
  };
  static Tail tail(const std::string& pattern, const std::string& where);
  static bool matches(const Tail& tail, std::string_view module);
  bool layer_matches(std::string_view module) const;

  const AdapterConfig* config_;
  std::vector<Tail> rank_keys_;
  std::vector<Tail> alpha_keys_;
  std::vector<PythonRegex> saved_;
  std::optional<PythonRegex> target_;
  std::optional<PythonRegex> exclude_;
  std::vector<PythonRegex> layers_;
};

}  // namespace mg
