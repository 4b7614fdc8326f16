// Base, adapter and merged held in memory by a test, written to folders to be audited.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "harness/audit/audit.h"
#include "tests/audit/synthetic.h"

namespace mg::test {

using Tensors = std::map<std::string, Tensor>;

/// Writes a safetensors file with the tensors in the order of their names.
void write_safetensors(const std::filesystem::path& path, const Tensors& tensors);
/// All tensors of a safetensors file.
Tensors read_safetensors(const std::filesystem::path& path);

class Checkpoints {
 public:
  Checkpoints() = default;
  Checkpoints(const Checkpoints&) = delete;
  Checkpoints& operator=(const Checkpoints&) = delete;
  virtual ~Checkpoints();

  Tensors base;
  Tensors adapter;  // with PEFT's names
  Tensors merged;
  nlohmann::json config;
  nlohmann::json merged_config;
  nlohmann::json adapter_config;

  /// Writes the three folders "base", "adapter" and "merged"; they go away with this.
  std::filesystem::path write() const;
  /// Writes them and audits them.
  AuditOutcome audit(int threads = 2) const;

 private:
  mutable std::filesystem::path folder_;
};

/// "float16", "bfloat16" or "float32", as config.json says it.
std::string config_dtype(DType dtype);
/// Exit code of the run this outcome belongs to.
int exit_code_of(const AuditOutcome& outcome);
/// Every finding, for messages of failed tests.
std::string describe(const AuditOutcome& outcome);

}  // namespace mg::test
