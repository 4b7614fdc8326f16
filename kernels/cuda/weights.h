// Weights on the device.  Those announced (Backend::prefetch) are uploaded by a thread of their own
// while kernels run: host bytes -> two pinned slots in turn -> device, on the upload stream, which
// the compute stream waits for by an event.  They stay until they are released; when memory is
// short the one used last goes first (layers are used in turn, so it is wanted again last) and is
// uploaded once more at its next use.  With room for two layers a checkpoint of any size streams
// through.  Views that were not announced are uploaded when used and freed after it.
//
// A weight announced with its codes is uploaded as codes and decoded here into what products need:
// the bytes of its values are never read, an eighth crosses the link, and the codes stay when
// memory for what was made of them is short.
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
#include "kernels/cuda/dequantise.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/kernels.h"

namespace mg::cuda {

class WeightStore;

/// Stored bytes on the device, as the file has them, codes too; not evicted while this lives.
class Lease {
 public:
  Lease(const Lease&) = delete;
  Lease(Lease&& other) noexcept;
  ~Lease();

  /// Of what is not codes.
  Stored stored() const;
  const void* data() const { return stored().data; }
  /// Rows [begin, begin + count) of a matrix with `cols` columns as `element`, `stride` apart.
  void convert_rows(std::int64_t begin, std::int64_t count, std::int64_t cols, void* out,
                    std::int64_t stride, Element element, cudaStream_t stream) const;

 private:
  friend class WeightStore;
  Lease() = default;

  const void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  std::optional<DeviceCodes> codes_;
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
  Lease use(const Weight& weight);
  Lease use(const TensorView& view) { return use(Weight{view, false}); }
  /// The same without an upload: nothing where the values are not on the device.
  std::optional<Lease> resident(const TensorView& view);
  /// An announced matrix in the arithmetic's type and alignment, kept in that form; nothing where
  /// it was not announced or memory is too short for it.
  std::optional<Prepared> prepared(const Weight& weight);
  /// Whether stored bytes serve as they are, rows aligned for the tensor cores.
  bool fits_as_stored(const Weight& weight);

 private:
  enum class State : std::uint8_t { kQueued, kUploading, kHere, kAbsent };
  struct Entry {
    TensorView view;
    WeightCodes codes;  // of the first who announced it with any
    int announced = 0;
    State state = State::kQueued;
    Memory raw;
    bool raw_is_codes = false;  // decided when its upload begins
    Memory converted;
    Event uploaded;
    std::exception_ptr failure;
    std::uint64_t last_use = 0;
    int holders = 0;
  };
  using Key = std::pair<const std::byte*, std::size_t>;

  void work();
  /// Bytes into `to`, on the upload stream.
  void send(const Parcel& parcel, void* to);
  /// The same for memory of the compute stream, which then waits for the bytes.
  void send_in_order(const Parcel& parcel, void* to, Event& uploaded);
  /// Waits until the entry is not being uploaded and its bytes are on the device.
  void bring(Entry& entry, std::unique_lock<std::mutex>& lock);
  Entry* find(const TensorView& view);
  static Parcel parcel_of_entry(Entry& entry);
  /// What was uploaded, or what was made of it.
  Lease lease_of(Entry& entry);
  Lease lease_of(Entry& entry, const Memory& memory, DType dtype);
  bool evict();
  bool evict(bool codes_too);

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
