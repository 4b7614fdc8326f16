// Binds the tensors of a checkpoint to the rules of its architecture, both ways: every rule must
// find its tensor, every tensor must be claimed by a rule.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "harness/io/checkpoint.h"
#include "harness/model/arch.h"

namespace mg {

struct ResolvedTensor {
  const TensorRule* rule = nullptr;
  // -1: not in a layer.  Blocks of a vision tower follow the text's layers: block v is L + v.
  std::int64_t layer = -1;
  std::int64_t expert = -1;   // -1: not an expert
  std::string expected_name;  // the rule's name with numbers filled in
  Shape shape;                // by the rule; a packed quantised weight is stored in another
  const StoredTensor* stored = nullptr;  // nullptr: absent
  bool quantised = false;                // has companions: its bytes are codes, not values
};

struct ResolveProblem {
  // kMissing: a rule found no tensor; kShape: one of another shape; kUnclaimed: a tensor no rule
  // asks for; kCollision: two tensors whose names mean the same one.
  enum class Kind { kMissing, kShape, kUnclaimed, kCollision };
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
  // Claimed beside the rules: companions of quantised weights, buffers that readers ignore and
  // spare tensors (ArchSpec::spare).
  std::vector<const StoredTensor*> companions;
  std::vector<const StoredTensor*> buffers;

  /// The tensor of this role, or nullptr where the checkpoint has none.
  const ResolvedTensor* find(Role role, std::int64_t layer = -1, std::int64_t expert = -1) const;
  /// The tensor whose rule says this name, numbers filled in ("visual.merger.ln_q.weight"), stored
  /// or not.
  const ResolvedTensor* find(std::string_view expected_name) const;
  /// lm_head as stored, or the embedding where the head is tied.  A stored head of a tied model
  /// counts, as in transformers 5 (PreTrainedModel.tie_weights does not tie two stored tensors that
  /// differ); F34 is the finding.
  const ResolvedTensor* head() const;
  /// Throws one Error "checkpoint.tensors" listing all problems, if there are any.
  void require_complete(const Checkpoint& checkpoint) const;

  // Indexes into `tensors`, filled by resolve_model().
  std::unordered_map<std::uint64_t, std::size_t> by_role;
  std::unordered_map<std::string, std::size_t> by_name;
};

/// Names are matched in canonical form (names.h), so that every published generation of a VLM's
/// names resolves, and with or without the backbone's prefix (ArchSpec::base_prefix).  The result
/// points into `checkpoint`, which must outlive it.  Throws Error "config.*"; what is wrong with
/// the tensors goes to `problems`.
ResolvedModel resolve_model(const Checkpoint& checkpoint);

/// The tensors of `arch` for a config, without a checkpoint: names, shapes, `stored` null.
std::vector<ResolvedTensor> expected_tensors(const ArchSpec& arch, const ModelConfig& config);

}  // namespace mg
