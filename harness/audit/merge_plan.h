// What a merge writes: every tensor with its sources.  Private to merge.cc and merge_files.cc.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/audit/merge.h"

namespace mg {

struct MergeTensor {
  std::string name;
  DType dtype = DType::kF32;           // as written
  TensorView start;                    // W: the base's tensor or the adapter's whole replacement
  const StoredTensor* base = nullptr;  // the base's tensor, if any; W is decoded from it where it
                                       // is codes
  const AttachedDelta* delta = nullptr;
  const AttachedDelta* bias_delta = nullptr;  // lora_bias
  const AdapterReplacement* rows = nullptr;   // trainable tokens
  bool replaced = false;                      // `start` is the adapter's
  bool added = false;                         // the base has no such tensor
};

/// W is numbers decoded from the base's codes.
bool is_dequantised(const MergeTensor& tensor);

struct MergePlan {
  std::vector<MergeTensor> tensors;  // sorted by name
  bool untied = false;               // the head was tied and gets a tensor of its own
};

/// Throws Error "merge.*" for what cannot be merged.
MergePlan plan_merge(const Checkpoint& base, const Adapter& adapter,
                     const AttachedAdapter& attached, std::optional<DType> dtype);

}  // namespace mg
