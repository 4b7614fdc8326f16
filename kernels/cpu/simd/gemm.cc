// One block of a linear map: panels of weights are widened and packed, then multiplied tile by
// tile.
//
// Three orders of the same arithmetic.  Many rows: for each k block the whole block of x is packed
// once and every panel meets every strip (the panel stays in the first-level cache).  Few rows
// (decoding): panel by panel through all of k, so that each weight is read once, straight from the
// file's bytes, in long streams.  Very few rows of 16-bit weights: without packing (few_rows.h).
#include "kernels/cpu/simd/few_rows.h"
#include "kernels/cpu/simd/isa.h"
#include "kernels/cpu/simd/pack.h"

namespace mg::cpu::MG_ISA {
namespace {

constexpr std::int64_t kFewRows = 2 * kTileRows;

std::int64_t divide_up(std::int64_t n, std::int64_t unit) {
  return (n + unit - 1) / unit;
}
/// Inputs of a k block: equal parts of k, but for the last, which may be shorter.
std::int64_t block_inputs(std::int64_t k) {
  const std::int64_t parts = divide_up(k, kGemmBlockK);
  return parts == 0 ? 1 : round_up(divide_up(k, parts), kLanes);
}
std::int64_t panel_elements(std::int64_t kc) {
  return round_up(kc, kWidth) * kTileCols;
}
std::int64_t strips_elements(std::int64_t rows, std::int64_t kc) {
  return round_up(divide_up(rows, kTileRows) * strip_elements(kc), kLanes);
}

/// kTileCols outputs of a matrix, or what is left of them, and the inputs of a k block.
struct Panel {
  const GemmPiece* piece;
  std::int64_t col;
  std::int64_t cols;
  std::int64_t k;
  std::int64_t kc;

  std::int64_t element() const { return piece->kind == WeightKind::kF32 ? 4 : 2; }
  const std::byte* w() const {
    return piece->w + (piece->transposed ? k * piece->w_stride + col * element()
                                         : col * piece->w_stride + k * element());
  }
};
Panel panel_at(const GemmPiece& piece, std::int64_t col, std::int64_t k, std::int64_t kc) {
  const std::int64_t left = piece.cols - col;
  return {&piece, col, left < kTileCols ? left : kTileCols, k, kc};
}

void pack_weights(const Panel& p, float* out) {
  const GemmPiece& g = *p.piece;
  switch (g.kind) {
    case WeightKind::kF16:
      return pack_panel<WeightKind::kF16>(p.w(), g.w_stride, g.transposed, p.cols, p.kc, out);
    case WeightKind::kBf16:
      return pack_panel<WeightKind::kBf16>(p.w(), g.w_stride, g.transposed, p.cols, p.kc, out);
    case WeightKind::kF32:
      return pack_panel<WeightKind::kF32>(p.w(), g.w_stride, g.transposed, p.cols, p.kc, out);
  }
}

/// Asks, a few at a time, for the bytes that pack_weights() will read next, while the panel before
/// them is multiplied: rows of a panel are too short runs for the machine to see them coming.
class Ahead {
 public:
  Ahead() = default;
  explicit Ahead(const Panel& p)
      : w_(p.w()),
        stride_(p.piece->w_stride),
        rows_(p.piece->transposed ? p.kc : p.cols),
        bytes_((p.piece->transposed ? p.cols : p.kc) * p.element()) {}

  std::int64_t lines() const { return rows_ * divide_up(bytes_, kLine); }
  void ask(std::int64_t lines) {
    for (; lines > 0 && rows_ > 0; --lines) {
      __builtin_prefetch(w_ + at_, 0, 2);  // to the second-level cache: the first is full
      at_ += kLine;
      if (at_ >= bytes_) {
        at_ = 0;
        w_ += stride_;
        --rows_;
      }
    }
  }

 private:
  static constexpr std::int64_t kLine = 64;
  const std::byte* w_ = nullptr;
  std::int64_t stride_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t bytes_ = 0;
  std::int64_t at_ = 0;
};

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

void gemm_few_rows(const GemmBlock& g, const GemmPiece& piece) {
  const std::int64_t k_step = block_inputs(g.k);
  for (std::int64_t col = 0; col < piece.cols; col += kTileCols) {
    for (std::int64_t k = 0; k < g.k; k += k_step) {
      const std::int64_t kc = g.k - k < k_step ? g.k - k : k_step;
      const Panel panel = panel_at(piece, col, k, kc);
      pack_weights(panel, g.scratch);
      for (std::int64_t r = 0; r < g.rows; r += kTileRows) {
        const std::int64_t rows = g.rows - r < kTileRows ? g.rows - r : kTileRows;
        multiply<false>(k == 0, rows, panel.cols, {g.x + r * g.x_stride + k, g.x_stride, 1},
                        g.scratch, kc, piece.out + r * piece.out_stride + col, piece.out_stride);
      }
    }
  }
}

#if defined(__AVX2__)
/// `after`: the weights that the thread reads when it is done with these, or null.
template <WeightKind kKind, int kRows>
void gemm_direct(const GemmBlock& g, const GemmPiece& piece, const std::byte* after) {
  const std::int64_t k_step = block_inputs(g.k);
  for (std::int64_t col = 0; col < piece.cols; col += kDirectCols) {
    const std::int64_t cols = piece.cols - col < kDirectCols ? piece.cols - col : kDirectCols;
    DirectWeights w{piece.w + col * piece.w_stride, piece.w_stride, 0, {}};
    // At the end of what this thread reads nothing new is asked for: another one reads it.
    w.next = col + kDirectCols < piece.cols
                 ? kDirectCols * piece.w_stride
                 : reinterpret_cast<std::intptr_t>(after != nullptr ? after : w.first) -
                       reinterpret_cast<std::intptr_t>(w.first);
    Vec total[kRows][kDirectVecs] = {};
    for (std::int64_t k = 0; k < g.k; k += k_step) {
      const std::int64_t end = g.k - k < k_step ? g.k : k + k_step;
      Vec sums[kRows][kDirectVecs] = {};
      if (cols == kDirectCols) {
        direct_sums<kKind, kRows, true>(w, g.x, g.x_stride, k, end, sums);
      } else {
        for (int i = 0; i < kDirectCols; ++i) {
          w.row[i] = w.first + (i < cols ? i : cols - 1) * w.stride;
        }
        direct_sums<kKind, kRows, false>(w, g.x, g.x_stride, k, end, sums);
      }
      for (int r = 0; r < kRows; ++r) {
        for (int j = 0; j < kDirectVecs; ++j) {
          total[r][j] = k == 0 ? sums[r][j] : total[r][j] + sums[r][j];
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      float* out = piece.out + r * piece.out_stride + col;
      for (int j = 0; j < kDirectVecs; ++j) {
        const std::int64_t left = cols - j * kWidth;
        if (left >= kWidth) {
          store(out + j * kWidth, total[r][j]);
        } else if (left > 0) {
          store_part(out + j * kWidth, total[r][j], left);
        }
      }
    }
  }
}

template <WeightKind kKind, int kRows = kDirectRows>
void gemm_direct_rows(const GemmBlock& g, const GemmPiece& piece, const std::byte* after) {
  if (g.rows == kRows) {
    gemm_direct<kKind, kRows>(g, piece, after);
  } else if constexpr (kRows > 1) {
    gemm_direct_rows<kKind, kRows - 1>(g, piece, after);
  }
}
#endif

/// Whether the weights of piece i go straight into the sums; does the work if so.
bool done_directly(const GemmBlock& g, std::int64_t i) {
#if defined(__AVX2__)
  const GemmPiece& piece = g.pieces[i];
  if (g.rows <= kDirectRows && !piece.transposed && g.k > 0) {
    const std::byte* after = i + 1 < g.count ? g.pieces[i + 1].w : nullptr;
    switch (piece.kind) {
      case WeightKind::kF16:
        gemm_direct_rows<WeightKind::kF16>(g, piece, after);
        return true;
      case WeightKind::kBf16:
        gemm_direct_rows<WeightKind::kBf16>(g, piece, after);
        return true;
      case WeightKind::kF32:
        return false;
    }
  }
#endif
  static_cast<void>(g);
  static_cast<void>(i);
  return false;
}

void pack_strips(const GemmBlock& g, std::int64_t k, std::int64_t kc, float* strips) {
  for (std::int64_t r = 0; r < g.rows; r += kTileRows) {
    const float* row[kTileRows];
    for (int i = 0; i < kTileRows;
         ++i) {  // past the end: the last row again, its results not stored
      const std::int64_t index = r + i < g.rows ? r + i : g.rows - 1;
      row[i] = g.x + index * g.x_stride + k;
    }
    pack_strip(row, kc, strips + r / kTileRows * strip_elements(kc));
  }
}

/// The panel that is packed after `p`: of the same matrix, of the next one, or of the next k block.
Ahead ahead_of(const GemmBlock& g, const Panel& p) {
  if (p.col + kTileCols < p.piece->cols) {
    return Ahead(panel_at(*p.piece, p.col + kTileCols, p.k, p.kc));
  }
  if (p.piece + 1 < g.pieces + g.count) {
    return Ahead(panel_at(p.piece[1], 0, p.k, p.kc));
  }
  const std::int64_t k = p.k + p.kc;
  return k < g.k ? Ahead(panel_at(*g.pieces, 0, k, g.k - k < p.kc ? g.k - k : p.kc)) : Ahead();
}

void gemm_many_rows(const GemmBlock& g) {
  const std::int64_t k_step = block_inputs(g.k);
  float* strips = g.scratch;
  float* packed = strips + strips_elements(g.rows, k_step);
  for (std::int64_t k = 0; k < g.k; k += k_step) {
    const std::int64_t kc = g.k - k < k_step ? g.k - k : k_step;
    pack_strips(g, k, kc, strips);
    for (const GemmPiece* piece = g.pieces; piece < g.pieces + g.count; ++piece) {
      for (std::int64_t col = 0; col < piece->cols; col += kTileCols) {
        const Panel panel = panel_at(*piece, col, k, kc);
        pack_weights(panel, packed);
        Ahead ahead = ahead_of(g, panel);
        const std::int64_t lines_per_strip = divide_up(ahead.lines(), divide_up(g.rows, kTileRows));
        for (std::int64_t r = 0; r < g.rows; r += kTileRows) {
          const std::int64_t rows = g.rows - r < kTileRows ? g.rows - r : kTileRows;
          ahead.ask(lines_per_strip);
          multiply<true>(k == 0, rows, panel.cols,
                         {strips + r / kTileRows * strip_elements(kc), 1, kTileRows}, packed, kc,
                         piece->out + r * piece->out_stride + col, piece->out_stride);
        }
      }
    }
  }
}

}  // namespace

std::int64_t gemm_scratch(std::int64_t rows) {
  return (rows <= kFewRows ? 0 : strips_elements(rows, kGemmBlockK)) + panel_elements(kGemmBlockK);
}

void gemm(const GemmBlock& block) {
  if (block.rows > kFewRows) {
    gemm_many_rows(block);
    return;
  }
  for (std::int64_t i = 0; i < block.count; ++i) {
    if (!done_directly(block, i)) {
      gemm_few_rows(block, block.pieces[i]);
    }
  }
}

}  // namespace mg::cpu::MG_ISA
