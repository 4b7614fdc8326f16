// A golden's base and adapter, changed by a test and merged again by the tests' own FP32
// arithmetic.  Which tensor a pair belongs to is worked out here from PEFT's naming, by code that
// shares nothing with harness/model.
#pragma once

#include <optional>
#include <string>

#include "tests/audit/checkpoints.h"

namespace mg::test {

class Remerge : public Checkpoints {
 public:
  /// tests/golden/<name>; `merged` is PEFT's own merge until merge() is called.
  explicit Remerge(const std::string& name);

  /// All weights of the base in another dtype, config.json included.
  void store_base_as(DType dtype);
  /// The pairs' deltas `factor` times as large (B scaled).
  void scale_delta(double factor);
  /// Fused pairs on all experts of the MoE golden (PEFT's target_parameters).
  void add_expert_pairs(std::int64_t rank);
  /// lora_B.bias for every pair whose module has a bias.
  void add_lora_bias();

  /// Fills `merged` and its config.
  void merge(DType stored, const MergeSteps& steps = {}, double multiple = 1.0);

  /// The pair on this base tensor as its rows see it, nothing where the adapter has none.
  std::optional<Pair> pair_of(const std::string& weight) const;
  /// Names of the base tensors with a pair.
  std::vector<std::string> targets() const;
  DType base_dtype() const;

 private:
  std::optional<Pair> expert_pair(const std::string& weight) const;
  double scale_of(const std::string& module, std::int64_t rank) const;
  const Tensor* find(const std::string& module, const std::string& part) const;
  std::string adapter_key(const std::string& name) const;

  std::string name_;
};

}  // namespace mg::test
