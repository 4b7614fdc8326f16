// Sums over the threads of a row in an order that depends on the number of threads alone.
#pragma once

#include "kernels/cuda/launch.h"

namespace mg::cuda {

constexpr unsigned kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFU;

/// Sum over a warp, the same bits in every lane: both operands of each addition are the same two.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (unsigned bit = kWarp / 2; bit > 0; bit /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, bit);
  }
  return value;
}

/// Sum over threadIdx.x, in every thread; blockDim.x is one warp, or a multiple up to 32 of them
/// with blockDim.y = 1.  Every thread of the block must call it.
__device__ __forceinline__ float row_sum(float value) {
  value = warp_sum(value);
  if (blockDim.x > kWarp) {
    MG_SHARED(float, partial, 32);
    __syncthreads();  // an earlier call's sums have been read
    if (threadIdx.x % kWarp == 0) {
      partial[threadIdx.x / kWarp] = value;
    }
    __syncthreads();
    value = 0.0F;
    for (unsigned i = 0; i < blockDim.x / kWarp; ++i) {
      value += partial[i];
    }
  }
  return value;
}

}  // namespace mg::cuda
