// Something a rule saw: in the files (lint), in the tensors (audit) or in the outputs (compare).
// Not for: errors that stop a run (kernels/core/error.h) or gates with limits (verdict.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

enum class Severity { kError, kWarning, kNote };

struct Fix {
  bool automatic = false;  // `mergegauge lint --fix` does it
  std::string what;        // one sentence a person can follow
};

struct Finding {
  std::string rule;                    // dotted, stable: "config.leftover-quantization"
  std::vector<std::string> catalogue;  // failure ids: "F01"
  Severity severity = Severity::kError;
  std::string command;  // which part found it: "lint", "audit", "compare", "bench"
  std::string subject;  // file and key, tensor, or pair of lanes
  std::string message;  // one sentence
  std::string expected;
  std::string actual;
  std::optional<Fix> fix;
};

/// "error", "warning", "note".
std::string_view severity_name(Severity severity);
std::optional<Severity> severity_from_name(std::string_view name);

}  // namespace mg
