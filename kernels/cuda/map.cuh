// Element-wise kernels: a block covers kMapChunk columns of one row.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/scalar.cuh"

namespace mg::cuda {

constexpr unsigned kMapThreads = 256;
constexpr unsigned kMapUnroll = 4;
constexpr unsigned kMapChunk = kMapThreads * kMapUnroll;

inline unsigned chunks_of(std::int64_t cols) {
  return static_cast<unsigned>((cols + kMapChunk - 1) / kMapChunk);
}

/// Blocks for every chunk of every row.
inline Shape3 map_shape(std::int64_t rows, std::int64_t cols) {
  return {dim3(static_cast<unsigned>(rows) * chunks_of(cols)), dim3(kMapThreads), 0};
}

/// body(row, column) for the elements of this block.
template <typename Body>
__device__ __forceinline__ void map(unsigned chunks, std::int64_t cols, const Body& body) {
  const std::int64_t row = blockIdx.x / chunks;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x % chunks) * kMapChunk;
#pragma unroll
  for (unsigned i = 0; i < kMapUnroll; ++i) {
    const std::int64_t col = begin + i * kMapThreads + threadIdx.x;
    if (col < cols) {
      body(row, col);
    }
  }
}

}  // namespace mg::cuda
