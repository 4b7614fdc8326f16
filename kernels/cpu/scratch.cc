#include "kernels/cpu/scratch.h"

#include <algorithm>
#include <new>

namespace mg::cpu {

AlignedFloats::AlignedFloats(std::int64_t elements) : size_(elements) {
  constexpr std::size_t kAlignment = 64;
  const auto bytes = static_cast<std::size_t>(std::max<std::int64_t>(elements, 1)) * sizeof(float);
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  data_.reset(static_cast<float*>(std::aligned_alloc(kAlignment, rounded)));
  if (data_ == nullptr) {
    throw std::bad_alloc();
  }
}

AlignedFloats ScratchPool::take(std::int64_t elements) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // The smallest that fits; a piece that is too small is dropped for a larger one only when none
    // fits.
    const auto fits = std::min_element(free_.begin(), free_.end(),
                                       [&](const AlignedFloats& x, const AlignedFloats& y) {
                                         const bool x_fits = x.size() >= elements;
                                         const bool y_fits = y.size() >= elements;
                                         return x_fits != y_fits ? x_fits : x.size() < y.size();
                                       });
    if (fits != free_.end()) {
      AlignedFloats piece = std::move(*fits);
      free_.erase(fits);
      if (piece.size() >= elements) {
        return piece;
      }
    }
  }
  return AlignedFloats(elements);
}

void ScratchPool::put_back(AlignedFloats piece) {
  const std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(std::move(piece));
}

}  // namespace mg::cpu
