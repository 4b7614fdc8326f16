// The device: whether there is one that will do, its two streams (work, uploads), and memory taken
// in the order of the streams, so that freeing never waits for the device.
// Not for: weights (weights.h).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace mg::cuda {

class Device;

/// Device memory, given back in the order of the compute stream.
class Memory {
 public:
  Memory() = default;
  Memory(Device& device, void* data) : device_(&device), data_(data) {}
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  ~Memory();

  void* data() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  bool empty() const { return data_ == nullptr; }

 private:
  Device* device_ = nullptr;
  void* data_ = nullptr;
};

/// A point in a stream.
class Event {
 public:
  Event();
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  ~Event();

  void record(cudaStream_t stream);
  /// Queued work of `stream` after this call waits for the point last recorded.
  void hold(cudaStream_t stream) const;
  bool reached() const;
  void wait() const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// Host memory that the device copies from and to while the host goes on.
class Pinned {
 public:
  explicit Pinned(std::size_t bytes);
  Pinned(Pinned&& other) noexcept;
  Pinned& operator=(Pinned&& other) noexcept;
  ~Pinned();

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  /// To be recorded behind each copy: the host may reuse the memory once it is reached.
  Event& last_copy() { return last_copy_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  Event last_copy_;
};

class Device {
 public:
  /// The `index`-th device of the first one's compute capability, chosen for this thread.  Throws
  /// Error "backend.unavailable" where there is no driver, no device, or none that is new enough.
  explicit Device(int index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// "sm_90"
  const std::string& architecture() const { return architecture_; }
  int ordinal() const { return ordinal_; }
  /// Devices of this compute capability.
  int count() const { return count_; }
  /// For the calling thread.
  void choose() const;
  cudaStream_t compute() const { return compute_; }
  cudaStream_t upload() const { return upload_; }

  /// Asked for memory that is short; gives some back and returns true, or false.
  void set_reclaim(std::function<bool()> reclaim) { reclaim_ = std::move(reclaim); }

  /// Throws Error "device.out-of-memory" once nothing is left to reclaim.
  Memory allocate(std::size_t bytes, const char* what);
  /// Empty instead of throwing.
  Memory try_allocate(std::size_t bytes);
  /// Empty where there is none free; nothing is reclaimed.  Ordered by `stream`.
  Memory take(std::size_t bytes, cudaStream_t stream);
  void give_back(void* data) noexcept;

  /// A copy of `values` on the device, in the order of the compute stream.
  template <typename T>
  Memory put(std::span<const T> values, const char* what) {
    return put_bytes(std::as_bytes(values), what);
  }
  Memory put_bytes(std::span<const std::byte> bytes, const char* what);
  /// Pinned memory that is not in use; hand it back by keep().
  Pinned pinned(std::size_t bytes);
  void keep(Pinned memory);

  void wait() const;

 private:
  std::string architecture_;
  int ordinal_ = 0;
  int count_ = 1;
  cudaStream_t compute_ = nullptr;
  cudaStream_t upload_ = nullptr;
  std::function<bool()> reclaim_;
  std::mutex mutex_;  // of idle_
  std::vector<Pinned> idle_;
};

}  // namespace mg::cuda
