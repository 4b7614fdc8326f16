#include "kernels/cpu/scratch.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <new>

namespace mg::cpu {

namespace {

// Whole pages of the large size (x86-64: 2 MiB) are worth asking for from here on: they cost one
// page fault instead of 512 and stay within the reach of the translation buffers.
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kMappedFrom = 2 * kHugePage;

std::size_t round_up(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

}  // namespace

AlignedFloats::AlignedFloats(std::int64_t elements) : size_(elements) {
  constexpr std::size_t kAlignment = 64;
  const auto bytes = static_cast<std::size_t>(std::max<std::int64_t>(elements, 1)) * sizeof(float);
  if (bytes < kMappedFrom) {
    data_ = {static_cast<float*>(std::aligned_alloc(kAlignment, round_up(bytes, kAlignment))), {}};
    if (data_ == nullptr) {
      throw std::bad_alloc();
    }
    return;
  }
  // Mapped for itself, not by malloc: large buffers come and go, and a heap would keep the holes.
  const std::size_t mapped =
      bytes + kHugePage;  // what lies before the aligned start stays untouched
  void* base = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    throw std::bad_alloc();
  }
  const auto offset = round_up(reinterpret_cast<std::uintptr_t>(base), kHugePage) -
                      reinterpret_cast<std::uintptr_t>(base);
  auto* start = static_cast<std::byte*>(base) + offset;
  ::madvise(start, bytes, MADV_HUGEPAGE);  // advice: a failure costs time only
  data_ = {reinterpret_cast<float*>(start), {base, mapped}};
}

void FreeFloats::operator()(float* p) const {
  if (base == nullptr) {
    std::free(p);
  } else {
    ::munmap(base, bytes);
  }
}

std::unique_lock<std::mutex> ScratchPool::lock() {
  constexpr int kTries = 1000;
  std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  for (int i = 0; i < kTries && !lock; ++i) {
    lock.try_lock();
  }
  if (!lock) {
    lock.lock();
  }
  return lock;
}

AlignedFloats ScratchPool::take(std::int64_t elements) {
  {
    const std::unique_lock<std::mutex> held = lock();
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
  const std::unique_lock<std::mutex> held = lock();
  free_.push_back(std::move(piece));
}

}  // namespace mg::cpu
