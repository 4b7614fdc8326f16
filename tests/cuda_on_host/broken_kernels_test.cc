// Kernels with planted faults: each must be caught, and its sound twin must not be.  What is not
// planted here is not claimed to be caught.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"
#include "tests/cuda_on_host/machine.h"

namespace mg::cuda {

// check.h's, for kernels that are launched without the backend.
void fail(cudaError_t status, const char* operation, std::uint64_t, const char*) {
  throw std::runtime_error(std::string(operation) + ": " + cudaGetErrorString(status));
}

}  // namespace mg::cuda

namespace mg::cuda_on_host {
namespace {

using cuda::launch;
using cuda::Shape3;
using testing::HasSubstr;

constexpr unsigned kThreads = 64;

class BrokenKernelsTest : public testing::Test {
 protected:
  void SetUp() override { start({}); }
  void start(const Settings& settings) {
    end();
    reset(settings);
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
  }
  void end() {
    for (void* memory : device_) {
      cudaFreeAsync(memory, stream_);
    }
    device_.clear();
    if (stream_ != nullptr) {
      cudaStreamDestroy(stream_);
      stream_ = nullptr;
    }
    for (void* memory : pinned_) {
      cudaFreeHost(memory);
    }
    pinned_.clear();
  }
  void TearDown() override {
    end();
    EXPECT_EQ(counts().allocations, 0U);
  }

  float* device(std::size_t n) {
    void* memory = nullptr;
    cudaMallocAsync(&memory, n * sizeof(float), stream_);
    device_.push_back(memory);
    return static_cast<float*>(memory);
  }
  float* pinned(std::size_t n) {
    void* memory = nullptr;
    cudaMallocHost(&memory, n * sizeof(float));
    pinned_.push_back(memory);
    return static_cast<float*>(memory);
  }
  float* filled(std::size_t n) {
    float* host = pinned(n);
    for (std::size_t i = 0; i < n; ++i) {
      host[i] = static_cast<float>(i + 1);
    }
    float* memory = device(n);
    cudaMemcpyAsync(memory, host, n * sizeof(float), cudaMemcpyHostToDevice, stream_);
    return memory;
  }
  std::vector<float> read(const float* from, std::size_t n) {
    float* host = pinned(n);
    cudaMemcpyAsync(host, from, n * sizeof(float), cudaMemcpyDeviceToHost, stream_);
    cudaStreamSynchronize(stream_);
    return {host, host + n};
  }
  /// The message of the Failure that `body` ends in, or "".
  template <typename Body>
  std::string failure_of(const Body& body) {
    try {
      body();
    } catch (const Failure& failure) {
      return failure.what();
    }
    const std::vector<std::string> found = take_failures();
    return found.empty() ? "" : found.front();
  }
  template <typename... Parameters, typename... Arguments>
  std::string run(void (*kernel)(Parameters...), const Arguments&... arguments) {
    return failure_of([&] {
      launch("planted", {dim3(2), dim3(kThreads), 0}, stream_, kernel, arguments...);
      cudaStreamSynchronize(stream_);
    });
  }
  /// Results of the kernel under several orders of threads.
  template <typename... Parameters, typename... Arguments>
  std::set<std::vector<float>> results(const float* out, std::size_t n,
                                       void (*kernel)(Parameters...),
                                       const Arguments&... arguments) {
    std::set<std::vector<float>> all;
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      reseed(seed, false);
      launch("planted", {dim3(1), dim3(kThreads), 0}, stream_, kernel, arguments...);
      try {
        all.insert(read(out, n));
      } catch (const Failure&) {  // made of memory that was not written yet
        all.insert(std::vector<float>{});
      }
    }
    return all;
  }

  cudaStream_t stream_ = nullptr;
  std::vector<void*> device_;
  std::vector<void*> pinned_;
};

__global__ void write_at(float* out, std::int64_t index) {
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    out[index] = 1.0F;
  }
}

TEST_F(BrokenKernelsTest, WritesOutsideAnAllocation) {
  float* out = device(10);
  EXPECT_EQ(run(write_at, out, 9), "");
  EXPECT_THAT(run(write_at, out, 10),
              HasSubstr("planted: written past the end of an allocation of 40 bytes"));
  EXPECT_THAT(run(write_at, out, -1),
              HasSubstr("planted: written before the start of an allocation of 40 bytes"));
}

__global__ void read_at(const float* in, std::int64_t index, float* out) {
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    *out = in[index];
  }
}

TEST_F(BrokenKernelsTest, ReadsOutsideAnAllocation) {
  const float* in = filled(64);  // 256 bytes: up to the page that cannot be read
  float* out = device(1);
  EXPECT_EQ(run(read_at, in, 63, out), "");
  EXPECT_EQ(read(out, 1).front(), 64.0F);
  EXPECT_DEATH(run(read_at, in, 64, out),
               "access outside every allocation in kernel planted|SEGV|AddressSanitizer");
  EXPECT_EQ(run(read_at, in, -1, out), "");  // a guard: what it gives does not stay unnoticed
  EXPECT_THAT(failure_of([&] { read(out, 1); }), HasSubstr("was never written"));
}

TEST_F(BrokenKernelsTest, UsesFreedMemory) {
  void* gone = nullptr;
  cudaMallocAsync(&gone, 256, stream_);
  cudaFreeAsync(gone, stream_);
  float* out = device(1);
  EXPECT_DEATH(run(read_at, static_cast<const float*>(gone), 0, out),
               "access outside every allocation in kernel planted|SEGV|AddressSanitizer");
}

__global__ void add_up(const float* in, std::int64_t n, float* out) {
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    float sum = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      sum += in[i];
    }
    *out = sum;
  }
}

TEST_F(BrokenKernelsTest, UsesUninitialisedMemory) {
  const float* in = device(4);
  float* out = device(1);
  EXPECT_EQ(run(add_up, in, 4, out), "");
  // Sums of the poison are the poison (x86 keeps a NaN's bits).
  EXPECT_THAT(failure_of([&] { read(out, 1); }), HasSubstr("was never written"));
  EXPECT_THAT(failure_of([&] { read(in, 4); }),
              HasSubstr("byte 0 of 16 copied to the host was never written"));
}

__global__ void shared_write(int index) {
  MG_SHARED(float, array, 32);
  MG_DYNAMIC_SHARED(float, dynamic);
  if (threadIdx.x == 0) {
    array[index < 32 ? index : 0] = 1.0F;
    if (index >= 32) {
      dynamic[index - 32] = 1.0F;
    }
  }
}

TEST_F(BrokenKernelsTest, WritesOutsideSharedMemory) {
  const auto at = [&](int index) {
    return failure_of([&] {
      launch("planted", {dim3(1), dim3(1), 64}, stream_, shared_write, index);
      cudaStreamSynchronize(stream_);
    });
  };
  EXPECT_EQ(at(31), "");
  EXPECT_EQ(at(32 + 15), "");
  EXPECT_THAT(at(-1), HasSubstr("planted: written outside a shared array of 128 bytes"));
  EXPECT_THAT(at(32 + 16), HasSubstr("planted: written outside a shared array of 64 bytes"));
}

__global__ void shared_read(float* out) {
  MG_SHARED(float, array, 32);
  if (threadIdx.x == 0) {
    *out = array[0];
  }
}

TEST_F(BrokenKernelsTest, UsesUninitialisedSharedMemory) {
  float* out = device(1);
  EXPECT_EQ(run(shared_read, out), "");
  EXPECT_THAT(failure_of([&] { read(out, 1); }), HasSubstr("was never written"));
}

/// 0: sound; 1: threads that skip the barrier; 2: barriers at two places; 3: some leave before it.
__global__ void barrier(int fault, float* out) {
  const bool low = threadIdx.x < kThreads / 2;
  if (fault == 3 && low) {
    return;
  }
  if (fault == 2 && low) {
    __syncthreads();
  } else if (fault != 1 || low) {
    __syncthreads();
  }
  out[threadIdx.x] = 1.0F;
}

TEST_F(BrokenKernelsTest, DivergentBarriers) {
  float* out = device(kThreads);
  EXPECT_EQ(run(barrier, 0, out), "");
  EXPECT_THAT(run(barrier, 1, out), HasSubstr("planted: divergent barrier: thread"));
  EXPECT_THAT(run(barrier, 2, out),
              HasSubstr("planted: divergent barrier: broken_kernels_test.cc:"));
  EXPECT_THAT(run(barrier, 3, out), HasSubstr("planted: divergent barrier: threads wait"));
  reseed(1, false);
  for (const int fault : {1, 2, 3}) {
    EXPECT_THAT(run(barrier, fault, out), HasSubstr("planted: divergent barrier")) << fault;
  }
}

/// 0: sound; 1: only some lanes of the mask come; 2: a lane outside its own mask; 3: one has left.
__global__ void shuffle(int fault, float* out) {
  const unsigned lane = threadIdx.x % 32;
  float value = static_cast<float>(threadIdx.x);
  if (fault == 3 && lane == 5) {
    return;
  }
  if (fault != 1 || lane < 16) {
    const unsigned mask = fault == 2 ? 0x0000FFFFU : 0xFFFFFFFFU;
    value = __shfl_xor_sync(mask, value, 1);
  }
  out[threadIdx.x] = value;
}

TEST_F(BrokenKernelsTest, WarpOperationsThatLanesDoNotJoin) {
  float* out = device(kThreads);
  EXPECT_EQ(run(shuffle, 0, out), "");
  EXPECT_EQ(read(out, 2), (std::vector<float>{1, 0}));
  EXPECT_THAT(run(shuffle, 1, out), HasSubstr("planted: "));
  EXPECT_THAT(run(shuffle, 2, out),
              HasSubstr("a lane calls a warp operation whose mask leaves it out"));
  EXPECT_THAT(run(shuffle, 3, out), HasSubstr("planted: "));
}

__global__ void vote(unsigned* out) {
  const bool odd = threadIdx.x % 2 == 1;
  const unsigned ballot = __ballot_sync(0xFFFFFFFFU, odd);
  const bool any = __any_sync(0xFFFFFFFFU, threadIdx.x == 40);
  const bool all = __all_sync(0xFFFFFFFFU, threadIdx.x < 32);
  out[threadIdx.x] = ballot + (any ? 1U : 0U) + (all ? 4U : 0U);
}

TEST_F(BrokenKernelsTest, VotesCountTheLanesOfTheirWarp) {
  auto* out = reinterpret_cast<unsigned*>(device(kThreads));
  EXPECT_EQ(run(vote, out), "");
  const std::vector<float> raw = read(reinterpret_cast<float*>(out), kThreads);
  std::vector<unsigned> votes(kThreads);
  std::memcpy(votes.data(), raw.data(), kThreads * sizeof(unsigned));
  EXPECT_EQ(votes[0], 0xAAAAAAAAU + 4U);
  EXPECT_EQ(votes[63], 0xAAAAAAAAU + 1U);
}

/// A sum by shared memory; `fault` leaves out one of its two barriers.
__global__ void sum_of_block(int fault, const float* in, float* out) {
  MG_SHARED(float, partial, kThreads);
  for (int round = 0; round < 2; ++round) {
    if (fault != 1) {
      __syncthreads();  // the last round's sums have been read
    }
    partial[threadIdx.x] = in[threadIdx.x] * static_cast<float>(round + 1);
    if (fault != 2) {
      __syncthreads();
    }
    float sum = 0;
    for (unsigned i = 0; i < kThreads; ++i) {
      sum += partial[i];
    }
    out[round * kThreads + threadIdx.x] = sum;
  }
}

TEST_F(BrokenKernelsTest, MissingBarriersGiveWrongOrVaryingResults) {
  const float* in = filled(kThreads);
  float* out = device(2 * kThreads);
  const auto sound = results(out, 2 * kThreads, sum_of_block, 0, in, out);
  EXPECT_EQ(sound.size(), 1U);
  EXPECT_GT(results(out, 2 * kThreads, sum_of_block, 1, in, out).size(), 1U);
  // Without the other one whoever runs first adds up what nobody wrote, in every order.
  EXPECT_THAT(results(out, 2 * kThreads, sum_of_block, 2, in, out),
              testing::Not(testing::Contains(*sound.begin())));
}

/// Each lane's value through shared memory to its neighbour; `fault` leaves out the warp's barrier.
__global__ void to_neighbour(int fault, const float* in, float* out) {
  MG_SHARED(float, values, kThreads);
  values[threadIdx.x] = in[threadIdx.x];
  if (fault == 0) {
    __syncwarp();
  }
  out[threadIdx.x] = values[threadIdx.x ^ 1U];
}

TEST_F(BrokenKernelsTest, MissingWarpBarriersGiveWrongResults) {
  const float* in = filled(kThreads);
  float* out = device(kThreads);
  // The last lane of a pair to run sees its partner, the first one does not, in every order.
  const auto sound = results(out, kThreads, to_neighbour, 0, in, out);
  EXPECT_EQ(sound.size(), 1U);
  EXPECT_THAT(results(out, kThreads, to_neighbour, 1, in, out),
              testing::Not(testing::Contains(*sound.begin())));
}

/// Every thread adds to one place, as an atomic addition of floats would: in the order they come.
__global__ void add_in_order_of_arrival(const float* in, float* out) {
  *out = *out * 0.5F + in[threadIdx.x];
}

TEST_F(BrokenKernelsTest, SumsInOrderOfArrivalDiffer) {
  const float* in = filled(kThreads);
  float* out = filled(1);
  EXPECT_GT(results(out, 1, add_in_order_of_arrival, in, out).size(), 1U);
}

__global__ void nothing() {}

TEST_F(BrokenKernelsTest, LaunchesThatADeviceRefuses) {
  const auto start_it = [&](const Shape3& shape) {
    return failure_of([&] { launch("planted", shape, stream_, nothing); });
  };
  EXPECT_EQ(start_it({dim3(1), dim3(1024), 0}), "");
  EXPECT_THAT(start_it({dim3(1), dim3(1025), 0}), HasSubstr("a device refuses"));
  EXPECT_THAT(start_it({dim3(1, 65536), dim3(1), 0}), HasSubstr("a device refuses"));
  EXPECT_THAT(start_it({dim3(1), dim3(1), 200000}), HasSubstr("more than sm_80 has"));
}

TEST_F(BrokenKernelsTest, CopiesOfMemoryThatIsNotPinned) {
  float* to = device(4);
  const std::vector<float> pageable(4);
  EXPECT_THAT(failure_of([&] {
                cudaMemcpyAsync(to, pageable.data(), 16, cudaMemcpyHostToDevice, stream_);
              }),
              HasSubstr("the host's side is not pinned memory"));
  const float* from = pinned(8);
  EXPECT_THAT(failure_of([&] { cudaMemcpyAsync(to, from, 32, cudaMemcpyHostToDevice, stream_); }),
              HasSubstr("32 bytes do not lie inside one allocation of device memory"));
}

/// Two streams: one fills, the other reads; with or without an event between them.
TEST_F(BrokenKernelsTest, MissingEventsGiveOtherResultsByOrder) {
  const auto seen = [&](bool wait) {
    std::set<float> values;
    for (std::uint64_t seed = 0; seed < 16; ++seed) {
      start({.seed = seed, .delayed = true});
      cudaStream_t other = nullptr;
      cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
      cudaEvent_t event = nullptr;
      cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
      float* memory = filled(1);
      cudaStreamSynchronize(stream_);
      cudaMemsetAsync(memory, 0, 4, other);
      cudaEventRecord(event, other);
      if (wait) {
        cudaStreamWaitEvent(stream_, event, 0);
      }
      values.insert(read(memory, 1).front());
      cudaStreamDestroy(other);
      cudaEventDestroy(event);
    }
    return values;
  };
  EXPECT_EQ(seen(true), (std::set<float>{0.0F}));
  EXPECT_EQ(seen(false), (std::set<float>{0.0F, 1.0F}));
}

/// A pinned buffer that is written again before the device has copied it.
TEST_F(BrokenKernelsTest, ReusedStagingGivesOtherResultsByOrder) {
  const auto seen = [&](bool wait) {
    std::set<float> values;
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      start({.seed = seed, .delayed = seed % 2 == 1});
      float* staging = pinned(1);
      float* memory = device(1);
      *staging = 1.0F;
      cudaMemcpyAsync(memory, staging, 4, cudaMemcpyHostToDevice, stream_);
      if (wait) {
        cudaStreamSynchronize(stream_);
      }
      *staging = 2.0F;
      values.insert(read(memory, 1).front());
    }
    return values;
  };
  EXPECT_EQ(seen(true), (std::set<float>{1.0F}));
  EXPECT_EQ(seen(false), (std::set<float>{1.0F, 2.0F}));
}

TEST_F(BrokenKernelsTest, MemoryThatIsNotGivenBack) {
  device(1);
  EXPECT_THAT(failure_of([] { reset({}); }), HasSubstr("1 allocations were not given back"));
}

TEST_F(BrokenKernelsTest, RunsOutOfMemory) {
  set_memory(1000);
  void* memory = nullptr;
  EXPECT_EQ(cudaMallocAsync(&memory, 1001, stream_), cudaErrorMemoryAllocation);
  device(250);
  EXPECT_EQ(cudaMallocAsync(&memory, 1, stream_), cudaErrorMemoryAllocation);
}

}  // namespace
}  // namespace mg::cuda_on_host
