// Binds the tensors of a checkpoint to the rules of its architecture, both ways: every rule must find its tensor,
// every tensor must be claimed by a rule.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/io/checkpoint.h"
#include "harness/model/arch.h"

namespace mg {

struct ResolvedTensor {
  const TensorRule* rule = nullptr;
  std::int64_t layer = -1;   // -1: not in a layer
  std::int64_t expert = -1;  // -1: not an expert
  std::string expected_name;             // the rule's name with numbers filled in
  const StoredTensor* stored = nullptr;  // nullptr: absent
};

struct ResolveProblem {
  enum class Kind { kMissing, kShape, kUnclaimed };
  Kind kind = Kind::kMissing;
  std::string name;
  std::string expected;
  std::string actual;
};

struct ResolvedModel {
  const ArchSpec* arch = nullptr;
  ModelConfig config;
  std::vector<ResolvedTensor> tensors;  // order: globals, then layer by layer, in the rules' order
  std::vector<ResolveProblem> problems;

  /// The tensor of this role, or nullptr where the checkpoint has none.
  const ResolvedTensor* find(Role role, std::int64_t layer = -1, std::int64_t expert = -1) const;
  /// lm_head as stored, or the embedding where the head is tied.
  const ResolvedTensor* head() const;
  /// Throws one Error "checkpoint.tensors" listing all problems, if there are any.
  void require_complete(const Checkpoint& checkpoint) const;
};

/// Names are matched in canonical form (names.h), so that every published generation of a VLM's names resolves.
ResolvedModel resolve_model(const Checkpoint& checkpoint);

}  // namespace mg
