// How a matrix product is cut into blocks for threads.  For speed only: no result depends on it.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd/table.h"

namespace mg::cpu {

struct BlockSize {
  std::int64_t rows;
  std::int64_t cols;
};

/// For out [rows, cols] = x [rows, k] * w [cols, k]^T on `threads` threads.
BlockSize choose_blocks(std::int64_t rows, std::int64_t cols, int threads,
                        const KernelTable& kernels);

}  // namespace mg::cpu
