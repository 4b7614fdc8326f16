// A weight's bytes as they go to the device: the values, or codes with their companions, packed
// into one piece of memory.  Not for: when they are uploaded (weights.h).
#pragma once

#include <cstddef>
#include <variant>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/kernels.h"

namespace mg::cuda {

/// What to copy where into one piece of device memory.
struct Parcel {
  struct Part {
    const std::byte* from = nullptr;
    std::size_t bytes = 0;
    std::size_t at = 0;
  };
  std::vector<Part> parts;
  std::size_t bytes = 0;  // of the whole
};
Parcel parcel_of(const TensorView& values);
/// Codes, not empty; each part at a multiple of 256 bytes.
Parcel parcel_of(const WeightCodes& codes);

/// A matrix of codes that lies in device memory as parcel_of() packs it.
class DeviceCodes {
 public:
  DeviceCodes(const WeightCodes& codes, const void* memory);

  /// Rows [begin, begin + count) as kernels.h's dequantise().
  void decode(std::int64_t begin, std::int64_t count, void* out, std::int64_t stride,
              Element element, cudaStream_t stream) const;

 private:
  std::variant<FourBitMatrix, EightBitMatrix> matrix_;
};

}  // namespace mg::cuda
