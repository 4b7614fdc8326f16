// One tensor of a checkpoint.
#pragma once

#include <string>

#include "kernels/core/tensor_view.h"

namespace mg {

class QuantisedTensor;

inline constexpr int kNoShard = -1;  // in memory of the checkpoint's own

struct StoredTensor {
  std::string name;  // as stored
  TensorView view;
  int shard = 0;  // index into Checkpoint::shards(), or kNoShard
  // Of a checkpoint opened with OpenOptions::decode: stored as codes, `view` is the FP32 copy,
  // which is there while somebody holds it (Checkpoint::decode) and must not be touched otherwise.
  const QuantisedTensor* quantised = nullptr;

  /// The dtype that the weight has where it is used: the stored one, or what the library
  /// dequantises to.
  DType used_dtype() const;
};

}  // namespace mg
