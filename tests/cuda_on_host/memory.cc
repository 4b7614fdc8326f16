// Device and pinned memory: guards, poison, unreadable pages.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tests/cuda_on_host/state.h"

namespace mg::cuda_on_host {
namespace {

constexpr std::size_t kAlignment = 256;  // of cudaMalloc
constexpr std::size_t kKeptClosed = 256;

std::size_t round_up(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

bool poisoned(const std::byte* begin, const std::byte* end) {
  return std::all_of(begin, end, [](std::byte b) { return b == std::byte{kPoison}; });
}

using Allocations = std::map<const std::byte*, std::unique_ptr<Guarded>>;

Guarded* find(Allocations& allocations, const void* memory, std::size_t bytes) {
  auto after = allocations.upper_bound(static_cast<const std::byte*>(memory));
  if (after == allocations.begin()) {
    return nullptr;
  }
  Guarded* found = std::prev(after)->second.get();
  return found->contains(memory, bytes) ? found : nullptr;
}

void* add(Allocations& allocations, std::size_t bytes) {
  auto memory = std::make_unique<Guarded>(bytes);
  void* data = memory->data();
  allocations.emplace(memory->data(), std::move(memory));
  ++machine().counts.allocations;
  return data;
}

void close(Allocations& allocations, const void* memory, const char* what) {
  const auto found = allocations.find(static_cast<const std::byte*>(memory));
  if (found == allocations.end()) {
    machine().failures.push_back(fmt::format("{}: not the start of an allocation", what));
    return;
  }
  const std::string damage = found->second->damage();
  if (!damage.empty()) {
    machine().failures.push_back(fmt::format("{}: {}", what, damage));
  }
  found->second->close();
  std::deque<std::unique_ptr<Guarded>>& closed = machine().closed;
  closed.push_back(std::move(found->second));
  if (closed.size() > kKeptClosed) {
    closed.pop_front();
  }
  allocations.erase(found);
  --machine().counts.allocations;
}

cudaError_t allocate(void** memory, std::size_t bytes, int device) {
  Machine& m = machine();
  if (m.counts.bytes_of[device] + bytes > m.settings.memory_bytes) {
    return cudaErrorMemoryAllocation;
  }
  *memory = add(m.device, bytes);
  m.device_of[static_cast<const std::byte*>(*memory)] = device;
  m.counts.bytes += bytes;
  m.counts.bytes_of[device] += bytes;
  m.counts.peak_bytes = std::max(m.counts.peak_bytes, m.counts.bytes);
  return cudaSuccess;
}

void release(void* memory) {
  const Guarded* found = find(machine().device, memory, 0);
  if (found != nullptr) {
    machine().counts.bytes -= found->bytes();
    machine().counts.bytes_of[machine().device_of[found->data()]] -= found->bytes();
    machine().device_of.erase(found->data());
  }
  close(machine().device, memory, "cudaFree");
}

/// Fails if a word of what a kernel should have written is still as allocated.
void require_initialised(const std::byte* from, std::size_t bytes) {
  for (std::size_t i = 0; i + 4 <= bytes; i += 4) {
    if (poisoned(from + i, from + i + 4)) {
      fail(fmt::format("cudaMemcpyAsync: byte {} of {} copied to the host was never written", i,
                       bytes));
    }
  }
}

}  // namespace

Guarded::Guarded(std::size_t bytes) : bytes_(bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t inside = round_up(kAlignment + round_up(bytes, kAlignment), page);
  mapped_ = inside + 2 * page;
  void* mapping = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    throw std::bad_alloc();
  }
  mapping_ = static_cast<std::byte*>(mapping);
  mprotect(mapping_ + page, inside, PROT_READ | PROT_WRITE);
  std::memset(mapping_ + page, kPoison, inside);
  data_ = mapping_ + page + inside - round_up(bytes, kAlignment);
}

Guarded::~Guarded() {
  munmap(mapping_, mapped_);
}

bool Guarded::contains(const void* memory, std::size_t bytes) const {
  const auto* first = static_cast<const std::byte*>(memory);
  return first >= data_ && first + bytes <= data_ + bytes_;
}

std::string Guarded::damage() const {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  if (!poisoned(std::max(mapping_ + page, data_ - kAlignment), data_)) {
    return fmt::format("written before the start of an allocation of {} bytes", bytes_);
  }
  if (!poisoned(data_ + bytes_, mapping_ + mapped_ - page)) {
    return fmt::format("written past the end of an allocation of {} bytes", bytes_);
  }
  return "";
}

void Guarded::close() {
  mprotect(mapping_, mapped_, PROT_NONE);
}

void require_device(const void* memory, std::size_t bytes, const char* what) {
  if (find(machine().device, memory, bytes) == nullptr) {
    fail(
        fmt::format("{}: {} bytes do not lie inside one allocation of device memory", what, bytes));
  }
}

void check_guards(const std::string& what) {
  for (const auto& [data, memory] : machine().device) {
    const std::string damage = memory->damage();
    if (!damage.empty()) {
      std::memset(memory->data() + memory->bytes(), kPoison,
                  round_up(memory->bytes(), kAlignment) - memory->bytes());
      std::memset(memory->data() - kAlignment, kPoison, kAlignment);
      fail(what + ": " + damage);
    }
  }
}

}  // namespace mg::cuda_on_host

using mg::cuda_on_host::enqueue;
using mg::cuda_on_host::machine;
namespace host = mg::cuda_on_host;

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const std::lock_guard lock(machine().mutex);
  *total = machine().settings.memory_bytes;
  *free = *total - std::min(*total, machine().counts.bytes_of[host::current_device()]);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  static EmulatedPool only;
  *pool = &only;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) {
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  const std::lock_guard lock(machine().mutex);
  *memory = host::add(machine().pinned, bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  const std::lock_guard lock(machine().mutex);
  host::close(machine().pinned, memory, "cudaFreeHost");
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  const std::lock_guard lock(machine().mutex);
  return host::allocate(memory, bytes, host::current_device());
}
cudaError_t cudaFree(void* memory) {
  const std::lock_guard lock(machine().mutex);
  for (EmulatedStream* stream : machine().streams) {
    cudaStreamSynchronize(stream);
  }
  host::release(memory);
  return cudaSuccess;
}
cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(machine().mutex);
  const cudaError_t first = host::allocate(memory, bytes, stream->device);
  if (first != cudaErrorMemoryAllocation) {
    return first;
  }
  // What the stream has freed by the time it gets here counts as free.
  host::run_until(
      stream, [stream] { return stream->queue.empty(); }, "cudaMallocAsync");
  return host::allocate(memory, bytes, stream->device);
}
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  const std::lock_guard lock(machine().mutex);
  enqueue(stream, {[memory] { host::release(memory); }, nullptr, 0});
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const std::lock_guard lock(machine().mutex);
  const void* on_host = kind == cudaMemcpyHostToDevice ? from : to;
  if (host::find(machine().pinned, on_host, bytes) == nullptr) {
    host::fail("cudaMemcpyAsync: the host's side is not pinned memory");
  }
  const auto run = [to, from, bytes, kind] {
    if (kind == cudaMemcpyHostToDevice) {
      host::require_device(to, bytes, "cudaMemcpyAsync to the device");
      machine().counts.bytes_to_device += bytes;
    } else {
      host::require_device(from, bytes, "cudaMemcpyAsync from the device");
      host::require_initialised(static_cast<const std::byte*>(from), bytes);
    }
    std::memcpy(to, from, bytes);
  };
  enqueue(stream, {run, nullptr, 0});
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(machine().mutex);
  const auto run = [to, value, bytes] {
    host::require_device(to, bytes, "cudaMemsetAsync");
    std::memset(to, value, bytes);
  };
  enqueue(stream, {run, nullptr, 0});
  return cudaSuccess;
}
