// A tensor's dtype, shape and bytes inside somebody else's memory (a mapped file, a test's buffer).
// Never owns: it is valid as long as the Checkpoint, Adapter or buffer that gave it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/dtype.h"
#include "kernels/core/shape.h"

namespace mg {

struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  const std::byte* data = nullptr;  // may be unaligned for its dtype: read by memcpy or loadu
  std::size_t bytes = 0;

  std::int64_t elements() const { return element_count(shape).value_or(0); }
  bool empty() const { return data == nullptr; }
  /// Dimension i, or 1 past the end: vectors read as single columns.
  std::int64_t dim(std::size_t i) const { return i < shape.size() ? shape[i] : 1; }
};

}  // namespace mg
