// Attaches an adapter's parts to the tensors of a base, by canonical names alone: works for
// architectures the table does not know.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"

namespace mg {

/// A low-rank pair on one stored base tensor.
struct AttachedDelta {
  const StoredTensor* target = nullptr;       // the base's weight
  const StoredTensor* target_bias = nullptr;  // lora_bias adds to this one
  const AdapterModule* module = nullptr;
  // W is stored [in, out] (Conv1D, fan_in_fan_out) or is an embedding: D is the transpose of B*A.
  bool transposed = false;
  std::int64_t expert_count = 0;  // kParameter: E, else 0
  // A pair on fused experts where the base stores them one by one: which expert `target` belongs
  // to, and the row of that expert's D at which `target` starts (of a fused gate_up_proj [2*I, H]:
  // 0 for gate_proj, I for up_proj).  expert -1: `target` holds all experts.
  std::int64_t expert = -1;
  std::int64_t first_row = 0;
  // `target` holds codes of a quantised weight: decode it first; `shape` is the decoded one.
  bool quantised = false;
  Shape shape;  // of the weight as the module sees it; equals target->view.shape unless quantised
  // A pair on the head of a base whose head is tied: `target` is the embedding, and the delta
  // belongs to the head alone.  A right merge stores lm_head.weight of its own (F35).
  bool tied_head = false;
};

struct AttachedReplacement {
  const StoredTensor* target =
      nullptr;  // nullptr: the base has no such tensor (untied head made by the adapter)
  const AdapterReplacement* replacement = nullptr;
};

/// A pair whose b was put into the base's order of rows.
struct ReorderedModule {
  AdapterModule module;
  std::vector<std::byte> b;
};

struct AttachedAdapter {
  std::vector<AttachedDelta> deltas;
  std::vector<std::shared_ptr<const ReorderedModule>> reordered;  // deltas point into them
  std::vector<AttachedReplacement> replacements;
  std::vector<std::string> unreached;  // adapter names (as in the file) that found no tensor
  std::vector<std::string> problems;   // what does not fit, as messages naming the tensor
  // Where config and tensors of the adapter say different things, though the tensors fit: flags
  // that PEFT corrects silently, modules the config names and the file lacks or the reverse.
  std::vector<std::string> surprises;

  /// The pair on this tensor; of a tied table the one on the embedding (the other is head_delta).
  const AttachedDelta* delta_for(const StoredTensor& base) const;
  /// The pair on the head of a tied base, if there is one.
  const AttachedDelta* head_delta() const;
  const AttachedReplacement* replacement_for(const StoredTensor& base) const;
};

/// The result points into `adapter` and `base`, which must outlive it.  Never throws for what the
/// files hold: what does not fit is in `unreached` and `problems`.
AttachedAdapter attach(const Adapter& adapter, const Checkpoint& base);

}  // namespace mg
