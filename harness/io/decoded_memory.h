// Addresses for the FP32 copies of quantised weights: reserved once, filled with memory while a
// copy is held.  A copy keeps its address for the life of the checkpoint, so that whoever shares a
// weight shares its copy; touching it while nobody holds it is a fault, not a zero. Private to
// harness/io.  Tested in tests/io/quantised_test.cc.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace mg {

/// Keeps a copy in memory; empty for what needs none.
using DecodedHold = std::shared_ptr<const void>;

class DecodedMemory {
 public:
  /// One range per entry of `bytes`.  Throws Error "memory.reserve" where the address space is
  /// limited; `owner` names the checkpoint.
  DecodedMemory(const std::vector<std::size_t>& bytes, const std::string& owner);
  ~DecodedMemory();
  DecodedMemory(const DecodedMemory&) = delete;
  DecodedMemory& operator=(const DecodedMemory&) = delete;

  std::byte* address(std::size_t index) const { return begin_ + offsets_[index]; }

  /// Range `index` with what `fill` writes into it; filled once however many hold it, emptied with
  /// the last.  Thread-safe; the holds must not outlive this.
  DecodedHold hold(std::size_t index, const std::function<void(std::byte*)>& fill);
  /// How often a range was filled so far.
  std::int64_t fills() const { return fills_; }

 private:
  struct Slot {
    std::mutex mutex;
    std::weak_ptr<const void> held;
  };

  void open(std::size_t index) const;
  void close(std::size_t index) const;

  std::byte* begin_ = nullptr;
  std::size_t bytes_ = 0;
  std::vector<std::size_t> offsets_;  // one more than ranges
  std::vector<Slot> slots_;
  std::atomic<std::int64_t> fills_ = 0;
  std::string owner_;
};

}  // namespace mg
