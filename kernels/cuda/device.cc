#include "kernels/cuda/device.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/cuda/check.h"

namespace mg::cuda {
namespace {

constexpr int kOldest = 80;  // BF16 in hardware

[[noreturn]] void unavailable(std::string what, std::string expected, std::string actual,
                              std::string hint) {
  throw Error({.code = "backend.unavailable",
               .what = std::move(what),
               .where = {},
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = std::move(hint)},
              ErrorKind::kInternal);
}

constexpr const char* kInstead = "--backend cpu runs everywhere; --backend auto takes it by itself";

std::string version_text(int version) {  // 13000 -> "13.0"
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

int require_devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0;
    int runtime = 0;
    check(cudaDriverGetVersion(&driver), "asking for the driver's version");
    check(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
    unavailable(driver == 0 ? "there is no NVIDIA driver on this machine"
                            : "the NVIDIA driver is too old for this build",
                "a driver for CUDA " + version_text(runtime) + " or later",
                driver == 0 ? "none" : "a driver for CUDA " + version_text(driver), kInstead);
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    unavailable("there is no CUDA device on this machine", {}, {}, kInstead);
  }
  check(status, "looking for devices");
  return count;
}

int capability_of(int device) {
  int major = 0;
  int minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
        "asking for the compute capability");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
        "asking for the compute capability");
  return 10 * major + minor;
}

std::string require_architecture() {
  const int capability = capability_of(0);
  const std::string name = "sm_" + std::to_string(capability);
  if (capability < kOldest) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "asking for the device's name");
    unavailable("the CUDA device is too old: " + std::string(properties.name),
                "sm_" + std::to_string(kOldest) + " or later", name, kInstead);
  }
  return name;
}

/// Like the first one, which therefore gives the same bits.
std::vector<int> devices_like_the_first(int count) {
  std::vector<int> found;
  for (int device = 0; device < count; ++device) {
    if (capability_of(device) == capability_of(0)) {
      found.push_back(device);
    }
  }
  return found;
}

}  // namespace

Memory::Memory(Memory&& other) noexcept
    : device_(other.device_), data_(std::exchange(other.data_, nullptr)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  return *this;
}

Memory::~Memory() {
  if (data_ != nullptr) {
    device_->give_back(data_);
  }
}

Event::Event() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event");
}

Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(event_, other.event_);
  return *this;
}

Event::~Event() {
  if (event_ != nullptr) {  // a destructor has nobody to tell
    static_cast<void>(cudaEventDestroy(event_));
  }
}

void Event::record(cudaStream_t stream) {
  check(cudaEventRecord(event_, stream), "recording an event");
}

void Event::hold(cudaStream_t stream) const {
  check(cudaStreamWaitEvent(stream, event_, 0), "making a stream wait");
}

bool Event::reached() const {
  const cudaError_t status = cudaEventQuery(event_);
  if (status != cudaErrorNotReady) {
    check(status, "asking for an event");
  }
  return status == cudaSuccess;
}

void Event::wait() const {
  check(cudaEventSynchronize(event_), "waiting for an event");
}

Pinned::Pinned(std::size_t bytes) : bytes_(bytes) {
  void* data = nullptr;
  check(cudaMallocHost(&data, bytes), "allocating pinned memory", bytes, "bytes");
  data_ = static_cast<std::byte*>(data);
}

Pinned::Pinned(Pinned&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(other.bytes_),
      last_copy_(std::move(other.last_copy_)) {}

Pinned& Pinned::operator=(Pinned&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(last_copy_, other.last_copy_);
  return *this;
}

Pinned::~Pinned() {
  if (data_ != nullptr) {
    try {
      last_copy_.wait();
    } catch (const Error&) {  // the device is broken: nothing copies any more
    }
    static_cast<void>(cudaFreeHost(data_));
  }
}

Device::Device(int index) {
  const int all = require_devices();
  architecture_ = require_architecture();
  const std::vector<int> alike = devices_like_the_first(all);
  MG_CHECK(index >= 0 && static_cast<std::size_t>(index) < alike.size(), "the device exists");
  ordinal_ = alike[static_cast<std::size_t>(index)];
  count_ = static_cast<int>(alike.size());
  choose();
  cudaMemPool_t pool = nullptr;
  check(cudaDeviceGetDefaultMemPool(&pool, ordinal_), "asking for the memory pool");
  std::uint64_t keep_all = UINT64_MAX;  // what is freed is wanted again soon
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep_all),
        "configuring the memory pool");
  check(cudaStreamCreateWithFlags(&compute_, cudaStreamNonBlocking), "creating a stream");
  check(cudaStreamCreateWithFlags(&upload_, cudaStreamNonBlocking), "creating a stream");
}

void Device::choose() const {
  check(cudaSetDevice(ordinal_), "choosing the device");
}

Device::~Device() {
  idle_.clear();
  for (cudaStream_t stream : {compute_, upload_}) {
    if (stream != nullptr) {
      static_cast<void>(cudaStreamSynchronize(stream));
      static_cast<void>(cudaStreamDestroy(stream));
    }
  }
}

Memory Device::take(std::size_t bytes, cudaStream_t stream) {
  void* data = nullptr;
  const cudaError_t status = cudaMallocAsync(&data, std::max<std::size_t>(bytes, 1), stream);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    return {};
  }
  check(status, "allocating device memory", bytes, "bytes");
  return {*this, data};
}

Memory Device::try_allocate(std::size_t bytes) {
  Memory memory = take(bytes, compute_);
  while (memory.empty() && reclaim_ && reclaim_()) {
    wait();  // what was given back is free once the stream has come there
    memory = take(bytes, compute_);
  }
  return memory;
}

Memory Device::allocate(std::size_t bytes, const char* what) {
  Memory memory = try_allocate(bytes);
  if (memory.empty()) {
    fail(cudaErrorMemoryAllocation, what, bytes, "bytes");
  }
  return memory;
}

void Device::give_back(void* data) noexcept {
  static_cast<void>(cudaFreeAsync(data, compute_));
}

Memory Device::put_bytes(std::span<const std::byte> bytes, const char* what) {
  Memory memory = allocate(bytes.size(), what);
  if (bytes.empty()) {
    return memory;
  }
  Pinned staging = pinned(bytes.size());
  std::memcpy(staging.data(), bytes.data(), bytes.size());
  check(cudaMemcpyAsync(memory.data(), staging.data(), bytes.size(), cudaMemcpyHostToDevice,
                        compute_),
        what, bytes.size(), "bytes");
  staging.last_copy().record(compute_);
  keep(std::move(staging));
  return memory;
}

Pinned Device::pinned(std::size_t bytes) {
  constexpr std::size_t kSmallest = std::size_t{64} << 10;
  constexpr std::size_t kMost = 32;  // beyond it the oldest is waited for, or dropped
  const std::lock_guard lock(mutex_);
  for (auto i = idle_.begin(); i != idle_.end(); ++i) {
    if (i->bytes() >= bytes && i->last_copy().reached()) {
      Pinned found = std::move(*i);
      idle_.erase(i);
      return found;
    }
  }
  if (idle_.size() >= kMost) {
    idle_.erase(idle_.begin());
  }
  return Pinned(std::max(bytes, kSmallest));
}

void Device::keep(Pinned memory) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(memory));
}

void Device::wait() const {
  check(cudaStreamSynchronize(compute_), "waiting for the device");
}

}  // namespace mg::cuda
