// Attention of a block of queries, the heads that share one key/value head together, in one pass
// over the keys with a running maximum (Milakov and Gimelshein 2018; FlashAttention): no T x T
// matrix exists.
//
// A row is one (position, head), positions outermost, so that the kTileRows rows of a strip see
// nearly the same keys.  Tiles of keys are counted from the segment's key 0 and each row's
// arithmetic covers exactly the keys it sees, in ascending order: its bits do not depend on the
// block or strip it is in, nor on whether it came in one pass or step by step, and a NaN in a key
// it does not see cannot reach it.
#include "kernels/cpu/simd/isa.h"
#include "kernels/cpu/simd/math.h"
#include "kernels/cpu/simd/pack.h"

namespace mg::cpu::MG_ISA {
namespace {

constexpr float kInfinity = __builtin_inff();

std::int64_t padded(std::int64_t head_dim) {
  return round_up(head_dim, kTileCols);
}

/// Keys [begin, end) of a tile, relative to its first.
struct Range {
  std::int64_t begin;
  std::int64_t end;
};

/// The values of a tile: columns in panels of kTileCols.
struct Values {
  const float* data;
  std::int64_t key_stride;
  std::int64_t panel_stride;

  std::int64_t offset(std::int64_t key, std::int64_t d) const {
    return d / kTileCols * panel_stride + key * key_stride + d % kTileCols;
  }
  const float* at(std::int64_t key, std::int64_t d) const { return data + offset(key, d); }
};

/// Where everything lies in AttentionBlock::scratch.
struct Scratch {
  float* queries;     // strips of [D][kTileRows]
  float* sums;        // [rows][Dp], the outputs before division
  float* max;         // [rows]
  float* total;       // [rows], sums of the probabilities
  float* keys;        // panels of [D][kTileCols]
  float* values;      // panels of [kAttentionTile][kTileCols]
  float* scores;      // [kTileRows][kAttentionTile], then the probabilities
  float* tile_sums;   // [kTileRows][Dp]
  std::int64_t size;  // elements in all

  Scratch(float* base, std::int64_t rows, std::int64_t head_dim) {
    const std::int64_t strips = (rows + kTileRows - 1) / kTileRows;
    std::int64_t used = 0;
    const auto take = [&](std::int64_t elements) {
      float* part = base == nullptr ? nullptr : base + used;
      used += round_up(elements, kLanes);
      return part;
    };
    queries = take(strips * strip_elements(head_dim));
    sums = take(rows * padded(head_dim));
    max = take(rows);
    total = take(rows);
    keys = take(kAttentionTile * round_up(head_dim, kWidth));
    values = take(kAttentionTile * padded(head_dim));
    scores = take(kTileRows * kAttentionTile);
    tile_sums = take(kTileRows * padded(head_dim));
    size = used;
  }
};

class Attention {
 public:
  explicit Attention(const AttentionBlock& block)
      : b_(block),
        rows_((block.q_end - block.q_begin) * block.heads),
        s_(block.scratch, rows_, block.head_dim),
        width_(padded(block.head_dim)) {}

  void run() {
    start();
    const Range first = visible(b_.q_begin);
    const Range last = visible(b_.q_end - 1);
    for (std::int64_t tile = first.begin / kAttentionTile * kAttentionTile; tile < last.end;
         tile += kAttentionTile) {
      load_tile(tile, last.end - tile < kAttentionTile ? last.end - tile : kAttentionTile);
      for (std::int64_t row = 0; row < rows_; row += kTileRows) {
        strip(tile, row, rows_ - row < kTileRows ? rows_ - row : kTileRows);
      }
    }
    finish();
  }

 private:
  std::int64_t position(std::int64_t row) const { return b_.q_begin + row / b_.heads; }
  const float* query(std::int64_t row) const {
    return b_.q + position(row) * b_.q_stride + row % b_.heads * b_.head_dim;
  }

  /// The keys a query sees.
  Range visible(std::int64_t query_index) const {
    const std::int64_t key = b_.first_position + query_index;
    const std::int64_t begin = b_.window > 0 && key + 1 > b_.window ? key + 1 - b_.window : 0;
    return {begin, b_.causal ? key + 1 : b_.k_len};
  }
  /// Those of the tile that starts at `tile`; empty as {0, 0}.
  Range visible_in(std::int64_t tile, std::int64_t query_index) const {
    const Range all = visible(query_index);
    const std::int64_t begin = all.begin > tile ? all.begin - tile : 0;
    const std::int64_t end = all.end - tile < kAttentionTile ? all.end - tile : kAttentionTile;
    return begin < end ? Range{begin, end} : Range{0, 0};
  }

  void start() {
    for (std::int64_t row = 0; row < rows_; row += kTileRows) {
      const float* pointers[kTileRows];
      for (int i = 0; i < kTileRows; ++i) {
        pointers[i] = query(row + i < rows_ ? row + i : rows_ - 1);
      }
      pack_strip(pointers, b_.head_dim, strip_queries(row));
    }
    for (std::int64_t i = 0; i < rows_ * width_; ++i) {
      s_.sums[i] = 0.0F;
    }
    for (std::int64_t row = 0; row < rows_; ++row) {
      s_.max[row] = -kInfinity;
      s_.total[row] = 0.0F;
    }
    for (std::int64_t i = 0; i < kTileRows * kAttentionTile; ++i) {
      s_.scores[i] = 0.0F;
    }
  }

  float* strip_queries(std::int64_t row) const {
    return s_.queries + row / kTileRows * strip_elements(b_.head_dim);
  }

  void load_tile(std::int64_t tile, std::int64_t keys) {
    for (std::int64_t key = 0; key < keys; key += kTileCols) {
      const std::int64_t cols = keys - key < kTileCols ? keys - key : kTileCols;
      pack_panel<WeightKind::kF32>(
          reinterpret_cast<const std::byte*>(b_.k + (tile + key) * b_.k_stride), b_.k_stride * 4,
          false, cols, b_.head_dim, s_.keys + key * round_up(b_.head_dim, kWidth));
    }
    load_values(b_.v + tile * b_.v_stride, keys);
  }

  /// Packs the tile's values; a single strip reads them where they are, unless they end within a
  /// vector.
  void load_values(const float* v, std::int64_t keys) {
    if (rows_ <= kTileRows && width_ == b_.head_dim) {
      values_ = {v, b_.v_stride, kTileCols};
      return;
    }
    values_ = {s_.values, kTileCols, kAttentionTile * kTileCols};
    const std::int64_t dim = b_.head_dim;
    const std::int64_t stride = b_.v_stride;
    for (std::int64_t d = 0; d < width_; d += kWidth) {
      float* target = s_.values + values_.offset(0, d);
      if (dim - d >= kWidth) {
        for (std::int64_t key = 0; key < keys; ++key) {
          store(target + key * kTileCols, load(v + key * stride + d));
        }
      } else {
        const std::int64_t left = dim > d ? dim - d : 0;
        for (std::int64_t key = 0; key < keys; ++key) {
          store(target + key * kTileCols, load_part(v + key * stride + d, left));
        }
      }
    }
  }

  void strip(std::int64_t tile, std::int64_t row, std::int64_t rows) {
    Range range[kTileRows];
    Range any{kAttentionTile, 0};
    std::int64_t query_index = position(row);
    std::int64_t head = row % b_.heads;
    for (std::int64_t r = 0; r < rows; ++r) {
      range[r] = visible_in(tile, query_index);
      if (++head == b_.heads) {
        head = 0;
        ++query_index;
      }
      if (range[r].end > 0) {
        any.begin = range[r].begin < any.begin ? range[r].begin : any.begin;
        any.end = range[r].end > any.end ? range[r].end : any.end;
      }
    }
    if (any.end == 0) {
      return;
    }
    score(row, rows, any);
    float factor[kWidth];
    softmax(row, rows, range, factor);
    weigh_values(rows, range);
    for (std::int64_t r = 0; r < rows; ++r) {
      if (range[r].end > 0) {
        accumulate(factor[r], s_.tile_sums + r * width_, s_.sums + (row + r) * width_);
      }
    }
  }

  /// scores = q k^T for the panels of keys that hold `any`.
  void score(std::int64_t row, std::int64_t rows, const Range& any) {
    const TileA queries{strip_queries(row), 1, kTileRows};
    for (std::int64_t key = any.begin / kTileCols * kTileCols; key < any.end; key += kTileCols) {
      tile<true, TileMode::kStore>(rows, queries, s_.keys + key * round_up(b_.head_dim, kWidth),
                                   kTileCols, b_.head_dim, s_.scores + key, kAttentionTile);
    }
  }

  /// Turns the scores of each row's keys into probabilities over the row's running maximum; factor:
  /// what brings the row's sums so far to the new maximum.  Powers of two serve instead of e: the
  /// change of base goes into the scale.
  void softmax(std::int64_t row, std::int64_t rows, const Range (&range)[kTileRows],
               float (&factor)[kWidth]) {
    constexpr float kLog2E = 0x1.715476p+0F;
    const float scale = b_.softcap > 0 ? kLog2E : b_.scale * kLog2E;
    float change[kWidth] = {};
    for (std::int64_t r = 0; r < rows; ++r) {
      if (range[r].end > 0) {
        change[r] = raise_max(scale, range[r], s_.scores + r * kAttentionTile, s_.max[row + r]);
      }
    }
    store(factor, exp2_of_negative(load(change)));
    for (std::int64_t r = 0; r < rows; ++r) {
      if (range[r].end > 0) {
        s_.total[row + r] =
            s_.total[row + r] * factor[r] +
            exponentials(s_.scores + r * kAttentionTile, scale, finite(s_.max[row + r]), range[r]);
      }
    }
  }

  /// Nothing but -inf so far: 2^-inf, not 2^(inf - inf).
  static float finite(float max) { return max == -kInfinity ? 0.0F : max; }

  /// Takes the row's scores x into its running maximum; returns the old one minus the new one.
  float raise_max(float scale, const Range& range, float* x, float& max) const {
    const std::int64_t begin = range.begin / kLanes * kLanes;
    const std::int64_t end = round_up(range.end, kLanes);
    if (b_.softcap > 0) {
      cap_scores(x, begin, end);
    }
    // The scale is positive and rounding keeps order: the largest product is the largest score's.
    const float high = mask_scores(x, begin, end, range) * scale;
    const float old_max = max;
    max = high > old_max ? high : old_max;
    return max == old_max ? 0.0F : old_max - finite(max);
  }

  /// x = soft cap of scale * x.
  void cap_scores(float* x, std::int64_t begin, std::int64_t end) const {
    const Vec scale = broadcast(b_.scale);
    const Vec cap = broadcast(b_.softcap);
    for (std::int64_t i = begin; i < end; i += kWidth) {
      store(x + i, cap * tanh(load(x + i) * scale / cap));
    }
  }

  /// x = -inf where the row does not see the key; returns the maximum of the rest.
  static float mask_scores(float* x, std::int64_t begin, std::int64_t end, const Range& range) {
    for (std::int64_t i = begin; i < range.begin; ++i) {
      x[i] = -kInfinity;
    }
    for (std::int64_t i = range.end; i < end; ++i) {
      x[i] = -kInfinity;
    }
    Lanes high = lanes(-kInfinity);
    for (std::int64_t i = begin; i < end; i += kLanes) {
#pragma GCC unroll 4
      for (int p = 0; p < kParts; ++p) {
        high.part[p] = larger(load(x + i + p * kWidth), high.part[p]);  // a NaN is not larger
      }
    }
    Vec highest = high.part[0];
#pragma GCC unroll 4
    for (int p = 1; p < kParts; ++p) {
      highest = larger(highest, high.part[p]);
    }
    return fold_vector(highest, larger);
  }

  /// x = 2^(scale * x - base), rounded as serving engines do before the product with v; returns the
  /// unrounded sum.
  float exponentials(float* x, float scale, float base, const Range& range) const {
    const std::int64_t begin = range.begin / kLanes * kLanes;
    const std::int64_t end = round_up(range.end, kLanes);
    Lanes total = lanes(0.0F);
    const Vec factor = broadcast(scale);
    const Vec shift = broadcast(-base);
    with_rounding(b_.rounding, [&]<Rounding kRounding>() {
      for (std::int64_t i = begin; i < end; i += kLanes) {
#pragma GCC unroll 4
        for (int p = 0; p < kParts; ++p) {
          const Vec e = exp2_of_negative(fma(load(x + i + p * kWidth), factor, shift));
          total.part[p] = total.part[p] + e;
          store(x + i + p * kWidth, rounded<kRounding>(e));
        }
      }
    });
    return sum(total);
  }

  /// tile_sums[r] = sum over the row's keys of probability * value.
  void weigh_values(std::int64_t rows, const Range (&range)[kTileRows]) {
    Range common{0, kAttentionTile};
    for (std::int64_t r = 0; r < rows; ++r) {
      common.begin = range[r].begin > common.begin ? range[r].begin : common.begin;
      common.end = range[r].end < common.end ? range[r].end : common.end;
    }
    if (common.begin >= common.end) {
      common = {kAttentionTile, kAttentionTile};  // each row for itself
    }
    bool leading = false;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t end = common.begin < range[r].end ? common.begin : range[r].end;
      leading = leading || range[r].begin < end;
    }
    if (leading || common.begin >= common.end) {
      for (std::int64_t r = 0; r < rows; ++r) {
        clear(s_.tile_sums + r * width_);
        add_keys(r, range[r].begin, common.begin < range[r].end ? common.begin : range[r].end);
      }
    }
    if (common.begin < common.end) {
      multiply_values(rows, common, leading);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      add_keys(r, common.end > range[r].begin ? common.end : range[r].begin, range[r].end);
    }
  }

  void multiply_values(std::int64_t rows, const Range& common, bool leading) {
    const TileA probability{s_.scores + common.begin, kAttentionTile, 1};
    const std::int64_t keys = common.end - common.begin;
    for (std::int64_t d = 0; d < width_; d += kTileCols) {
      const float* v = values_.at(common.begin, d);
      if (leading) {
        tile<false, TileMode::kContinue>(rows, probability, v, values_.key_stride, keys,
                                         s_.tile_sums + d, width_);
      } else {
        tile<false, TileMode::kStore>(rows, probability, v, values_.key_stride, keys,
                                      s_.tile_sums + d, width_);
      }
    }
  }

  /// The same chain of additions for single keys of one row.
  void add_keys(std::int64_t r, std::int64_t begin, std::int64_t end) {
    float* sums = s_.tile_sums + r * width_;
    for (std::int64_t key = begin; key < end; ++key) {
      const Vec p = broadcast(s_.scores[r * kAttentionTile + key]);
      for (std::int64_t d = 0; d < width_; d += kWidth) {
        store(sums + d, fma(p, load(values_.at(key, d)), load(sums + d)));
      }
    }
  }

  void clear(float* x) const {
    for (std::int64_t d = 0; d < width_; d += kWidth) {
      store(x + d, Vec{});
    }
  }

  /// sums = sums * factor + tile.
  void accumulate(float factor, const float* tile_sums, float* sums) const {
    const Vec f = broadcast(factor);
    for (std::int64_t d = 0; d < width_; d += kWidth) {
      store(sums + d, load(sums + d) * f + load(tile_sums + d));
    }
  }

  void finish() {
    with_rounding(b_.rounding, [&]<Rounding kRounding>() {
      for (std::int64_t row = 0; row < rows_; ++row) {
        float* out = b_.out + position(row) * b_.out_stride + row % b_.heads * b_.head_dim;
        const Vec total = broadcast(s_.total[row]);
        for (std::int64_t d = 0; d < b_.head_dim; d += kWidth) {
          const Vec value = rounded<kRounding>(load(s_.sums + row * width_ + d) / total);
          const std::int64_t left = b_.head_dim - d;
          left >= kWidth ? store(out + d, value) : store_part(out + d, value, left);
        }
      }
    });
  }

  const AttentionBlock& b_;
  std::int64_t rows_;
  Scratch s_;
  std::int64_t width_;  // Dp: head_dim rounded up to whole panels
  Values values_{};
};

}  // namespace

std::int64_t attention_scratch(std::int64_t queries, std::int64_t heads, std::int64_t head_dim) {
  return Scratch(nullptr, queries * heads, head_dim).size;
}

void attention(const AttentionBlock& block) {
  Attention(block).run();
}

}  // namespace mg::cpu::MG_ISA
