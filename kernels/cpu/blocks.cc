#include "kernels/cpu/blocks.h"

#include <algorithm>

namespace mg::cpu {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
std::int64_t round_up(std::int64_t a, std::int64_t unit) {
  return divide_up(a, unit) * unit;
}

// Per input element, in units of one multiply-add of a whole vector pair (measured on Zen 3):
// packing a weight and packing an activation.
constexpr double kPackWeight = 0.5;
constexpr double kPackActivation = 0.7;
// Strips of a block are read once per panel: they should come from the second-level cache.  Its
// sums are read and written once per block of k: they should come from the third.
constexpr std::int64_t kMaxRows = 384;
constexpr std::int64_t kMaxCols = 2048;

/// Time until the last thread is done.
double cost(const BlockSize& block, std::int64_t rows, std::int64_t cols, int threads) {
  const std::int64_t blocks = divide_up(rows, block.rows) * divide_up(cols, block.cols);
  const auto r = static_cast<double>(block.rows);
  const auto c = static_cast<double>(block.cols);
  return static_cast<double>(divide_up(blocks, threads)) *
         (r * c / 16 + kPackWeight * c + kPackActivation * r);
}

}  // namespace

BlockSize choose_blocks(std::int64_t rows, std::int64_t cols, int threads,
                        const KernelTable& kernels) {
  const std::int64_t tile_rows = kernels.tile_rows;
  const std::int64_t tile_cols = kernels.tile_cols;
  if (rows <= 2 * tile_rows) {
    // Weights stream past a few rows.  Few and long runs, for each begins with a wait for its first
    // weights; as many for each thread.
    constexpr std::int64_t kLongest = 96;
    const std::int64_t panels = divide_up(cols, tile_cols);
    const std::int64_t runs = divide_up(panels, kLongest * threads) * threads;
    return {rows, divide_up(panels, runs) * tile_cols};
  }
  BlockSize best{};
  double best_cost = 0;
  const std::int64_t row_parts_from = divide_up(rows, kMaxRows);
  const std::int64_t row_parts_to =
      std::min(divide_up(rows, tile_rows), row_parts_from + 2 * threads);
  const std::int64_t col_parts_from = divide_up(cols, kMaxCols);
  const std::int64_t col_parts_to =
      std::min(divide_up(cols, tile_cols), col_parts_from + 8 * threads);
  for (std::int64_t row_parts = row_parts_from; row_parts <= row_parts_to; ++row_parts) {
    for (std::int64_t col_parts = col_parts_from; col_parts <= col_parts_to; ++col_parts) {
      const BlockSize block{round_up(divide_up(rows, row_parts), tile_rows),
                            round_up(divide_up(cols, col_parts), tile_cols)};
      const double time = cost(block, rows, cols, threads);
      if (best.rows == 0 || time < best_cost) {
        best = block;
        best_cost = time;
      }
    }
  }
  return best;
}

}  // namespace mg::cpu
