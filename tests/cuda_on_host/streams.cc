// The machine itself: settings, streams, events, device queries.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <utility>

#include "tests/cuda_on_host/state.h"

namespace mg::cuda_on_host {
namespace {

bool runnable(const EmulatedStream& stream) {
  return !stream.queue.empty() &&
         (stream.queue.front().awaited == nullptr ||
          stream.queue.front().awaited->completed >= stream.queue.front().generation);
}

void run_first(EmulatedStream* stream) {
  const EmulatedStream::Operation operation = std::move(stream->queue.front());
  stream->queue.pop_front();
  if (operation.run) {
    operation.run();
  }
}

}  // namespace

std::uint64_t Random::bits() {
  state_ += 0x9E3779B97F4A7C15ULL;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

std::vector<unsigned> Random::order(std::size_t n, std::uint64_t seed) {
  std::vector<unsigned> all(n);
  std::iota(all.begin(), all.end(), 0U);
  if (seed == 1) {
    std::reverse(all.begin(), all.end());
  }
  for (std::size_t i = n; seed > 1 && i > 1; --i) {
    std::swap(all[i - 1], all[below(i)]);
  }
  return all;
}

namespace {

/// For programs that know nothing of the emulation: CUDA_ON_HOST_SEED, CUDA_ON_HOST_DELAYED=1,
/// CUDA_ON_HOST_DEVICES, CUDA_ON_HOST_MEMORY (bytes of each).
void read_environment(Settings& settings) {
  const auto number = [](const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
  };
  settings.seed = number("CUDA_ON_HOST_SEED", settings.seed);
  settings.delayed = number("CUDA_ON_HOST_DELAYED", 0) != 0;
  settings.devices = static_cast<int>(number("CUDA_ON_HOST_DEVICES", 1));
  settings.memory_bytes = number("CUDA_ON_HOST_MEMORY", settings.memory_bytes);
}

thread_local int chosen_device = 0;

}  // namespace

int current_device() {
  return chosen_device;
}

void require_current(const EmulatedStream* stream, const char* what) {
  if (stream != nullptr && stream->device != chosen_device) {
    fail(fmt::format("{}: the stream belongs to device {}, the thread has chosen {}", what,
                     stream->device, chosen_device));
  }
}

Machine& machine() {
  static Machine& only = *[] {  // never destroyed: backends may outlive main()'s statics
    auto* made = new Machine;
    read_environment(made->settings);
    made->random = Random(made->settings.seed);
    return made;
  }();
  return only;
}

void fail(const std::string& what) {
  throw Failure("cuda_on_host: " + what);
}

std::vector<std::string> take_failures() {
  const std::lock_guard lock(machine().mutex);
  return std::exchange(machine().failures, {});
}

void throw_failures() {
  const std::vector<std::string> found = take_failures();
  if (!found.empty()) {
    fail(found.front());
  }
}

void reset(const Settings& settings) {
  const std::lock_guard lock(machine().mutex);
  if (machine().counts.allocations > 0) {
    fail(fmt::format("{} allocations were not given back", machine().counts.allocations));
  }
  machine().settings = settings;
  machine().random = Random(settings.seed);
  machine().counts = {};
  machine().closed.clear();
  machine().barriers.clear();
  machine().barrier_left_out.clear();
}

std::set<std::string> barriers() {
  const std::lock_guard lock(machine().mutex);
  return machine().barriers;
}

void leave_out(const std::string& barrier) {
  const std::lock_guard lock(machine().mutex);
  machine().barrier_left_out = barrier;
}

void reseed(std::uint64_t seed, bool delayed) {
  const std::lock_guard lock(machine().mutex);
  machine().settings.seed = seed;
  machine().settings.delayed = delayed;
  machine().random = Random(seed);
}

void set_memory(std::size_t bytes) {
  const std::lock_guard lock(machine().mutex);
  machine().settings.memory_bytes = bytes;
}

Counts counts() {
  const std::lock_guard lock(machine().mutex);
  return machine().counts;
}

void enqueue(EmulatedStream* stream, EmulatedStream::Operation operation) {
  if (stream == nullptr) {
    fail("the default stream is not used: it waits for every other one");
  }
  stream->queue.push_back(std::move(operation));
  while (!machine().settings.delayed && runnable(*stream)) {
    run_first(stream);
  }
}

void run_until(EmulatedStream* preferred, const std::function<bool()>& done, const char* what) {
  Machine& m = machine();
  // Half of the time nothing runs that need not: whoever forgot to wait finds nothing there.
  const bool lazy = m.random.below(2) == 0;
  while (!done()) {
    std::vector<EmulatedStream*> ready;
    for (EmulatedStream* stream : m.streams) {
      if (runnable(*stream)) {
        ready.push_back(stream);
      }
    }
    if (ready.empty()) {
      fail(fmt::format("{}: waits for an event that no stream will complete", what));
    }
    const bool own = preferred != nullptr && runnable(*preferred) && lazy;
    run_first(own ? preferred : ready[m.random.below(ready.size())]);
  }
}

}  // namespace mg::cuda_on_host

using mg::cuda_on_host::enqueue;
using mg::cuda_on_host::machine;
namespace host = mg::cuda_on_host;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorInvalidValue:
      break;
  }
  return "invalid argument";
}

cudaError_t cudaGetLastError() {
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  const host::Settings& s = machine().settings;
  *count = 0;
  if (s.driver_version < 13000) {
    return cudaErrorInsufficientDriver;
  }
  *count = s.devices;
  return s.devices == 0 ? cudaErrorNoDevice : cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= machine().settings.devices) {
    return cudaErrorInvalidValue;
  }
  host::chosen_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::strcpy(properties->name, "host emulation");
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 166912;  // sm_80; more on later ones
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = machine().settings.capability / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = machine().settings.capability % 10;
      break;
  }
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = machine().settings.driver_version;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::lock_guard lock(machine().mutex);
  *stream = new EmulatedStream;
  (*stream)->device = host::current_device();
  machine().streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(machine().mutex);
  try {
    host::run_until(
        stream, [stream] { return stream->queue.empty(); }, "cudaStreamDestroy");
  } catch (const host::Failure& failure) {  // called by destructors
    machine().failures.emplace_back(failure.what());
  }
  machine().streams.erase(stream);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(machine().mutex);
  host::run_until(
      stream, [stream] { return stream->queue.empty(); }, "cudaStreamSynchronize");
  host::throw_failures();
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(machine().mutex);
  enqueue(stream, {nullptr, event, event->recorded});
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  (*event)->device = host::current_device();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::lock_guard lock(machine().mutex);
  if (event->completed < event->recorded) {  // the device may still reach it
    try {
      host::run_until(
          nullptr, [event] { return event->completed >= event->recorded; }, "cudaEventDestroy");
    } catch (const host::Failure& failure) {
      machine().failures.emplace_back(failure.what());
    }
  }
  // Streams that still wait for it: it is complete, and they may go on.
  for (EmulatedStream* stream : machine().streams) {
    for (EmulatedStream::Operation& operation : stream->queue) {
      operation.awaited = operation.awaited == event ? nullptr : operation.awaited;
    }
  }
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(machine().mutex);
  if (event->device != stream->device) {
    host::fail("cudaEventRecord: the event and the stream belong to different devices");
  }
  const std::uint64_t generation = ++event->recorded;
  enqueue(stream, {[event, generation] { event->completed = generation; }, nullptr, 0});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(machine().mutex);
  host::run_until(
      nullptr, [event] { return event->completed >= event->recorded; }, "cudaEventSynchronize");
  host::throw_failures();
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  const std::lock_guard lock(machine().mutex);
  return event->completed >= event->recorded ? cudaSuccess : cudaErrorNotReady;
}
