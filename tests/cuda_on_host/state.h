// What the parts of the emulated machine share.  Not for tests: machine.h is.
#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "tests/cuda_on_host/machine.h"

struct EmulatedEvent {
  int device = 0;
  std::uint64_t recorded = 0;   // times recorded, as the host sees it
  std::uint64_t completed = 0;  // the last of them whose stream got there
};

struct EmulatedStream {
  int device = 0;
  struct Operation {
    std::function<void()> run;
    EmulatedEvent* awaited = nullptr;  // with `run` empty: waits for this event's ...
    std::uint64_t generation = 0;      // ... recording of this number
  };
  std::deque<Operation> queue;
};

struct EmulatedPool {};

namespace mg::cuda_on_host {

/// splitmix64
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits();
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(bits() % n); }
  /// 0 .. n-1: in order (seed 0), backwards (seed 1), shuffled.
  std::vector<unsigned> order(std::size_t n, std::uint64_t seed);

 private:
  std::uint64_t state_;
};

constexpr unsigned char kPoison = 0xFF;

/// Memory whose end touches a page that cannot be accessed, with kPoison on both sides.
class Guarded {
 public:
  explicit Guarded(std::size_t bytes);
  ~Guarded();
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  bool contains(const void* memory, std::size_t bytes) const;
  /// Empty, or where a guard was overwritten.
  std::string damage() const;
  /// No access from here on.
  void close();

 private:
  std::byte* mapping_ = nullptr;
  std::size_t mapped_ = 0;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

struct Machine {
  std::recursive_mutex mutex;
  Settings settings;
  Random random{0};
  Counts counts;
  std::map<const std::byte*, std::unique_ptr<Guarded>> device;  // by first byte
  std::map<const std::byte*, int> device_of;                    // the same: which one
  std::map<const std::byte*, std::unique_ptr<Guarded>> pinned;
  std::deque<std::unique_ptr<Guarded>> closed;  // given back, kept unreadable for a while
  std::set<EmulatedStream*> streams;
  std::vector<std::string> failures;
  std::map<const void*, std::size_t> allowed_shared;
  std::set<std::string> barriers;  // that blocks passed since reset()
  std::string barrier_left_out;
};
Machine& machine();

/// The device this thread has chosen.
int current_device();
/// Fails where a stream belongs to another device than the chosen one.
void require_current(const EmulatedStream* stream, const char* what);

/// Throws Failure.
[[noreturn]] void fail(const std::string& what);
/// Throws what take_failures() would give, if anything.
void throw_failures();
/// Queues an operation and, unless streams are delayed, runs it.
void enqueue(EmulatedStream* stream, EmulatedStream::Operation operation);
/// Runs queued operations until `done` holds.
void run_until(EmulatedStream* preferred, const std::function<bool()>& done, const char* what);
/// Requires [memory, memory + bytes) to lie inside one device allocation.
void require_device(const void* memory, std::size_t bytes, const char* what);
/// Looks at the guards of everything; `what` ran just before.
void check_guards(const std::string& what);

/// Runs all blocks of a launch (blocks.cc).
void run_grid(const Launch& launch, const std::function<void()>& body);

}  // namespace mg::cuda_on_host
