// One block of a linear map: panels of weights are widened and packed, then multiplied tile by
// tile.
//
// Two orders of the same arithmetic.  Many rows: for each k block the whole block of weights and of
// x is packed once and every panel meets every strip (the panel stays in the first-level cache).
// Few rows (decoding): panel by panel through all of k, so that each weight is read once, straight
// from the file's bytes, in long streams.
#include "kernels/cpu/simd/isa.h"
#include "kernels/cpu/simd/pack.h"

namespace mg::cpu::MG_ISA {
namespace {

constexpr std::int64_t kFewRows = 2 * kTileRows;

std::int64_t panel_elements(std::int64_t kc) {
  return round_up(kc, kWidth) * kTileCols;
}
std::int64_t strips_of(std::int64_t rows) {
  return (rows + kTileRows - 1) / kTileRows;
}

void pack_weights(const GemmBlock& g, std::int64_t col, std::int64_t cols, std::int64_t k,
                  std::int64_t kc, float* out) {
  const std::int64_t element = g.kind == WeightKind::kF32 ? 4 : 2;
  const std::byte* w =
      g.transposed ? g.w + k * g.w_stride + col * element : g.w + col * g.w_stride + k * element;
  switch (g.kind) {
    case WeightKind::kF16:
      return pack_panel<WeightKind::kF16>(w, g.w_stride, g.transposed, cols, kc, out);
    case WeightKind::kBf16:
      return pack_panel<WeightKind::kBf16>(w, g.w_stride, g.transposed, cols, kc, out);
    case WeightKind::kF32:
      return pack_panel<WeightKind::kF32>(w, g.w_stride, g.transposed, cols, kc, out);
  }
}

/// Asks for the bytes that pack_weights() will read: the panel before it is multiplied meanwhile.
/// Rows of a panel are short runs, too short for the machine to see them coming by itself.
void prefetch_weights(const GemmBlock& g, std::int64_t col, std::int64_t cols, std::int64_t k,
                      std::int64_t kc) {
  constexpr std::int64_t kLine = 64;
  const std::int64_t element = g.kind == WeightKind::kF32 ? 4 : 2;
  const std::int64_t rows = g.transposed ? kc : cols;
  const std::int64_t bytes = (g.transposed ? cols : kc) * element;
  const std::byte* w =
      g.transposed ? g.w + k * g.w_stride + col * element : g.w + col * g.w_stride + k * element;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < bytes; i += kLine) {
      __builtin_prefetch(w + r * g.w_stride + i);
    }
  }
}

template <bool kPacked>
void multiply(bool first, std::int64_t rows, std::int64_t cols, const TileA& a, const float* panel,
              std::int64_t kc, float* out, std::int64_t out_stride) {
  if (cols < kTileCols) {
    if (first) {
      tile_edge<kPacked, TileMode::kStore>(rows, cols, a, panel, kTileCols, kc, out, out_stride);
    } else {
      tile_edge<kPacked, TileMode::kAdd>(rows, cols, a, panel, kTileCols, kc, out, out_stride);
    }
  } else if (first) {
    tile<kPacked, TileMode::kStore>(rows, a, panel, kTileCols, kc, out, out_stride);
  } else {
    tile<kPacked, TileMode::kAdd>(rows, a, panel, kTileCols, kc, out, out_stride);
  }
}

void gemm_few_rows(const GemmBlock& g) {
  for (std::int64_t col = 0; col < g.cols; col += kTileCols) {
    const std::int64_t cols = g.cols - col < kTileCols ? g.cols - col : kTileCols;
    for (std::int64_t k = 0; k < g.k; k += kGemmBlockK) {
      const std::int64_t kc = g.k - k < kGemmBlockK ? g.k - k : kGemmBlockK;
      pack_weights(g, col, cols, k, kc, g.scratch);
      for (std::int64_t r = 0; r < g.rows; r += kTileRows) {
        const std::int64_t rows = g.rows - r < kTileRows ? g.rows - r : kTileRows;
        multiply<false>(k == 0, rows, cols, {g.x + r * g.x_stride + k, g.x_stride, 1}, g.scratch,
                        kc, g.out + r * g.out_stride + col, g.out_stride);
      }
    }
  }
}

void gemm_many_rows(const GemmBlock& g) {
  float* strips = g.scratch;
  float* panels = strips + round_up(strips_of(g.rows) * strip_elements(kGemmBlockK), kLanes);
  for (std::int64_t k = 0; k < g.k; k += kGemmBlockK) {
    const std::int64_t kc = g.k - k < kGemmBlockK ? g.k - k : kGemmBlockK;
    for (std::int64_t r = 0; r < g.rows; r += kTileRows) {
      const float* row[kTileRows];
      for (int i = 0; i < kTileRows;
           ++i) {  // past the end: the last row again, its results not stored
        const std::int64_t index = r + i < g.rows ? r + i : g.rows - 1;
        row[i] = g.x + index * g.x_stride + k;
      }
      pack_strip(row, kc, strips + r / kTileRows * strip_elements(kc));
    }
    for (std::int64_t col = 0; col < g.cols; col += kTileCols) {
      const std::int64_t cols = g.cols - col < kTileCols ? g.cols - col : kTileCols;
      float* panel = panels;
      pack_weights(g, col, cols, k, kc, panel);
      if (const std::int64_t left = g.cols - col - kTileCols; left > 0) {
        prefetch_weights(g, col + kTileCols, left < kTileCols ? left : kTileCols, k, kc);
      }
      for (std::int64_t r = 0; r < g.rows; r += kTileRows) {
        const std::int64_t rows = g.rows - r < kTileRows ? g.rows - r : kTileRows;
        multiply<true>(k == 0, rows, cols,
                       {strips + r / kTileRows * strip_elements(kc), 1, kTileRows}, panel, kc,
                       g.out + r * g.out_stride + col, g.out_stride);
      }
    }
  }
}

}  // namespace

std::int64_t gemm_scratch(std::int64_t rows, std::int64_t cols) {
  static_cast<void>(cols);
  const std::int64_t strips =
      rows <= kFewRows ? 0 : round_up(strips_of(rows) * strip_elements(kGemmBlockK), kLanes);
  return strips + panel_elements(kGemmBlockK);
}

void gemm(const GemmBlock& block) {
  if (block.rows <= kFewRows) {
    gemm_few_rows(block);
  } else {
    gemm_many_rows(block);
  }
}

}  // namespace mg::cpu::MG_ISA
