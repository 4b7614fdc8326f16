// Every call of the CUDA runtime and of cuBLAS goes through check(): a failure names what was tried
// and how large it was.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace mg::cuda {

/// Throws Error "device.failed" (kind internal: the device's fault or ours), or
/// "device.out-of-memory".
[[noreturn]] void fail(cudaError_t status, const char* operation, std::uint64_t amount,
                       const char* unit);

/// `amount` and `unit` say how large the operation was: 4096, "bytes".
inline void check(cudaError_t status, const char* operation, std::uint64_t amount = 0,
                  const char* unit = "") {
  if (status != cudaSuccess) {
    fail(status, operation, amount, unit);
  }
}

}  // namespace mg::cuda
