// Attaches an adapter's parts to the tensors of a base, by canonical names alone: works for
// architectures the table does not know.
#pragma once

#include <cstdint>
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
};

struct AttachedReplacement {
  const StoredTensor* target =
      nullptr;  // nullptr: the base has no such tensor (untied head made by the adapter)
  const AdapterReplacement* replacement = nullptr;
};

struct AttachedAdapter {
  std::vector<AttachedDelta> deltas;
  std::vector<AttachedReplacement> replacements;
  std::vector<std::string> unreached;  // adapter names that found no tensor in the base
  std::vector<std::string> problems;   // shapes that do not fit, as messages naming the tensor

  const AttachedDelta* delta_for(const StoredTensor& base) const;
  const AttachedReplacement* replacement_for(const StoredTensor& base) const;
};

AttachedAdapter attach(const Adapter& adapter, const Checkpoint& base);

}  // namespace mg
