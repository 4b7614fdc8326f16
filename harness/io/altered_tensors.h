// Bytes that stand in for some of a checkpoint's own, made when they are read: a fault is planted
// into what a run sees, and no copy of the checkpoint is written.  Not for: which faults there are
// (harness/run/damage.h).
#pragma once

#include <cstddef>
#include <vector>

#include "harness/io/checkpoint.h"

namespace mg {

class AlteredTensors {
 public:
  virtual ~AlteredTensors() = default;

  /// Whether read() has other bytes than the checkpoint for this tensor, one of the checkpoint's.
  virtual bool alters(const StoredTensor& tensor) const = 0;
  /// The bytes that a reader is to see, of the tensor's own dtype and shape; the same at every
  /// call. Thread-safe.
  virtual std::vector<std::byte> read(const StoredTensor& tensor) const = 0;
};

}  // namespace mg
