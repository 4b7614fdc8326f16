// The part of CUDA's runtime and device language that kernels/cuda uses, for a host compiler: put
// this folder before the toolkit's and the same .cu sources compile with g++ and run on the
// emulated machine of tests/cuda_on_host/machine.h.  Names, values and meanings are those of the
// CUDA Runtime API and of the CUDA C++ Programming Guide.
// Not for: anything the backend does not use; a call that is missing here does not compile.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>

// Runtime API
// ------------------------------------------------------------------------------------------------
enum cudaError {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorNotReady = 600,
};
using cudaError_t = cudaError;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum cudaDeviceAttr {
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };

struct EmulatedStream;
struct EmulatedEvent;
struct EmulatedPool;
using cudaStream_t = EmulatedStream*;
using cudaEvent_t = EmulatedEvent*;
using cudaMemPool_t = EmulatedPool*;
struct cudaDeviceProp {
  char name[256];
};

constexpr unsigned cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDisableTiming = 2;

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, std::size_t bytes_to_keep);
cudaError_t cudaMallocHost(void** memory, std::size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);

// Device language
// ------------------------------------------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace mg::cuda_on_host {

struct Launch {
  const char* kernel = "";  // for messages
  const void* function = nullptr;
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
};

/// Queues a kernel; `body` is what one thread of it runs.
void launch(const Launch& launch, cudaStream_t stream, std::function<void()> body);
/// The kernel may be launched with more than 48 KiB of dynamic shared memory.
void allow_shared(const void* kernel, std::size_t bytes);

// What the thread that runs sees.
const uint3& thread_index();
const uint3& block_index();
const dim3& block_size();
const dim3& grid_size();

void sync_threads(const char* file, int line);
void sync_warp(unsigned mask, const char* file, int line);
std::uint64_t exchange(unsigned mask, std::uint64_t value, unsigned source_lane, const char* file,
                       int line);
unsigned ballot(unsigned mask, bool predicate, const char* file, int line);
unsigned lane();

/// A block's array: the same memory for every thread that asks for the same place in the source.
void* block_shared(std::size_t bytes, const char* file, int line);
void* dynamic_shared();

template <typename T>
T shuffle(unsigned mask, T value, unsigned source_lane, const char* file, int line) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = exchange(mask, bits, source_lane, file, line);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace mg::cuda_on_host

template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  mg::cuda_on_host::allow_shared(reinterpret_cast<const void*>(kernel),
                                 static_cast<std::size_t>(bytes));
  return cudaSuccess;
}

#define threadIdx (::mg::cuda_on_host::thread_index())
#define blockIdx (::mg::cuda_on_host::block_index())
#define blockDim (::mg::cuda_on_host::block_size())
#define gridDim (::mg::cuda_on_host::grid_size())
#define __syncthreads() ::mg::cuda_on_host::sync_threads(__builtin_FILE(), __LINE__)
#define __syncwarp(...) ::mg::cuda_on_host::sync_warp(0xFFFFFFFFU, __builtin_FILE(), __LINE__)
#define __shfl_sync(mask, value, source)                                                    \
  ::mg::cuda_on_host::shuffle(mask, value, static_cast<unsigned>(source), __builtin_FILE(), \
                              __LINE__)
#define __shfl_xor_sync(mask, value, bits)                                              \
  ::mg::cuda_on_host::shuffle(mask, value,                                              \
                              ::mg::cuda_on_host::lane() ^ static_cast<unsigned>(bits), \
                              __builtin_FILE(), __LINE__)
#define __ballot_sync(mask, predicate) \
  ::mg::cuda_on_host::ballot(mask, (predicate) != 0, __builtin_FILE(), __LINE__)
#define __any_sync(mask, predicate) (__ballot_sync(mask, predicate) != 0)
#define __all_sync(mask, predicate) (!__any_sync(mask, !(predicate)))
