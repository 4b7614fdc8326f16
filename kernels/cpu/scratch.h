// Aligned working memory that tasks borrow and hand back, so that it is allocated once and reused:
// as many pieces live as tasks run at the same time.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace mg::cpu {

struct FreeFloats {
  void* base = nullptr;  // of the mapping; null: from malloc
  std::size_t bytes = 0;
  void operator()(float* p) const;
};

/// 64-byte aligned floats, contents undefined.
class AlignedFloats {
 public:
  AlignedFloats() = default;
  explicit AlignedFloats(std::int64_t elements);

  float* data() const { return data_.get(); }
  std::int64_t size() const { return size_; }

 private:
  std::unique_ptr<float, FreeFloats> data_;
  std::int64_t size_ = 0;
};

class ScratchPool {
 public:
  /// Returns its piece to the pool when it goes out of scope.
  class Lease {
   public:
    Lease(ScratchPool& pool, AlignedFloats piece) : pool_(&pool), piece_(std::move(piece)) {}
    ~Lease() { pool_->put_back(std::move(piece_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    float* data() const { return piece_.data(); }

   private:
    ScratchPool* pool_;
    AlignedFloats piece_;
  };

  /// At least `elements` floats.  Thread-safe.
  Lease borrow(std::int64_t elements) { return {*this, take(elements)}; }

 private:
  /// Every thread of a loop comes at its start and again at its end, for some 50 nanoseconds: going
  /// to sleep over that would take a hundred times as long.
  std::unique_lock<std::mutex> lock();
  AlignedFloats take(std::int64_t elements);
  void put_back(AlignedFloats piece);

  std::mutex mutex_;
  std::vector<AlignedFloats> free_;
};

}  // namespace mg::cpu
