// Weights on the device.  Those announced (Backend::prefetch) are uploaded by a thread of their own
// while kernels run: host bytes -> two pinned slots in turn -> device, on the upload stream, which
// the compute stream waits for by an event.  They stay until they are released; when memory is
// short the one used last goes first (layers are used in turn, so it is wanted again last) and is
// uploaded once more at its next use.  With room for two layers a checkpoint of any size streams
// through.  Views that were not announced are uploaded when used and freed after it.
//
// Weights are recognised by the address of their bytes: lanes that share a matrix share its upload.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/parallel.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace mg::cuda {

class WeightStore;

/// Stored bytes on the device, as the file has them; not evicted while this lives.
class Lease {
 public:
  Lease(const Lease&) = delete;
  Lease(Lease&& other) noexcept;
  ~Lease();

  Stored stored() const { return {data_, dtype_}; }
  const void* data() const { return data_; }

 private:
  friend class WeightStore;
  Lease() = default;

  const void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Memory own_;                   // of a view that was not announced
  int* holders_ = nullptr;       // of one that was
  std::mutex* mutex_ = nullptr;  // of *holders_
};

/// A matrix as a product needs it: `element`, rows `stride` elements apart.
struct Prepared {
  Lease lease;
  std::int64_t stride;
};

class WeightStore {
 public:
  WeightStore(Device& device, Element element, int threads);
  ~WeightStore();
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;

  void announce(std::span<const Weight> weights);
  void forget(std::span<const Weight> weights);

  /// In order of the compute stream.
  Lease use(const TensorView& view);
  /// The same without an upload: nothing where the bytes are not on the device.
  std::optional<Lease> resident(const TensorView& view);
  /// An announced matrix in the arithmetic's type and alignment, kept in that form; nothing where
  /// it was not announced or memory is too short for it.
  std::optional<Prepared> prepared(const Weight& weight);
  /// Whether stored bytes serve as they are, rows aligned for the tensor cores.
  bool fits_as_stored(const Weight& weight) const;

 private:
  enum class State : std::uint8_t { kQueued, kUploading, kHere, kAbsent };
  struct Entry {
    TensorView view;
    int announced = 0;
    State state = State::kQueued;
    Memory raw;
    Memory converted;
    Event uploaded;
    std::exception_ptr failure;
    std::uint64_t last_use = 0;
    int holders = 0;
  };
  using Key = std::pair<const std::byte*, std::size_t>;

  void work();
  /// Bytes into `to`, on the upload stream.
  void send(const TensorView& view, void* to);
  /// The same for memory of the compute stream, which then waits for the bytes.
  void send_in_order(const TensorView& view, void* to, Event& uploaded);
  /// Waits until the entry is not being uploaded and its bytes are on the device.
  void bring(Entry& entry, std::unique_lock<std::mutex>& lock);
  Entry* find(const TensorView& view);
  Lease lease_of(Entry& entry, const Memory& memory, DType dtype);
  bool evict();

  Device& device_;
  const Element element_;
  ThreadPool copiers_;
  std::mutex sending_;  // one upload at a time: the slots
  std::vector<Pinned> slots_;
  std::size_t next_slot_ = 0;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::map<Key, std::unique_ptr<Entry>> entries_;
  std::deque<Entry*> queue_;
  std::uint64_t clock_ = 0;
  bool stopping_ = false;
  std::thread worker_;  // last: starts when all else is there
};

/// Elements between rows so that each starts at a multiple of 16 bytes.
std::int64_t aligned_stride(std::int64_t cols, Element element);
DType dtype_of(Element element);

}  // namespace mg::cuda
