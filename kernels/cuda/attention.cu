// Attention of up to kAttentionRows rows of one key/value head in one pass over the keys with a
// running maximum (Milakov and Gimelshein 2018; FlashAttention): no T x T matrix exists.
//
// A row is one (position, head), positions outermost, so that a block's rows see nearly the same
// keys.  Tiles of keys are counted from the segment's key 0 and each row's arithmetic covers
// exactly the keys it sees, in ascending order: its bits do not depend on the block it is in, nor
// on whether it came in one pass or step by step, and a NaN in a key it does not see cannot reach
// it.
//
// 256 threads.  For the scores and the weighted values thread (ty, tx) = (tid / 16, tid % 16) holds
// rows 4 ty .. 4 ty + 3, and of these keys tx + 16 j, or elements 4 tx + 64 j .. + 3 of the output;
// for the softmax four neighbouring threads share a row.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/math.cuh"

namespace mg::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = static_cast<int>(kAttentionRows);
constexpr int kKeys = static_cast<int>(kAttentionKeys);
constexpr int kOwnRows = 4;  // of a thread
constexpr int kOwnKeys = 4;
constexpr int kScoreStride = kKeys + 4;  // shifts banks from row to row
constexpr unsigned kAllLanes = 0xFFFFFFFFU;

struct alignas(16) Four {
  float at[4];
};

/// Elements of a row of queries, keys or values in shared memory: whole fours, and one more four
/// that shifts banks.
__host__ __device__ __forceinline__ int tile_stride(int head_dim) {
  return (head_dim + 3) / 4 * 4 + 4;
}

/// Where a block's shared memory holds what.
struct Tiles {
  float* queries;  // [kRows][stride]
  float* keys;     // [kKeys][stride], then the values
  float* scores;   // [kRows][kScoreStride], then the probabilities
  float* max;      // [kRows]: so far
  float* total;    // [kRows]: sum of probabilities over it
  float* factor;   // [kRows]: brings what was summed before to the new maximum
  int stride;

  __device__ __forceinline__ Tiles(float* base, int head_dim) : stride(tile_stride(head_dim)) {
    queries = base;
    keys = queries + kRows * stride;
    scores = keys + kKeys * stride;
    max = scores + kRows * kScoreStride;
    total = max + kRows;
    factor = total + kRows;
  }
};

/// Keys [begin, end) of a tile, relative to its first; empty as {0, 0}.
struct Range {
  int begin;
  int end;
};

__device__ __forceinline__ std::int64_t position_of(const Attention& a, const AttentionTask& task,
                                                    int row) {
  return (task.begin + row) / a.heads_per_kv;
}

__device__ __forceinline__ std::int64_t first_key(const Attention& a, const AttentionTask& task,
                                                  std::int64_t position) {
  const std::int64_t key = task.past + position;
  return a.window > 0 && key + 1 > a.window ? key + 1 - a.window : 0;
}
__device__ __forceinline__ std::int64_t end_key(const Attention& a, const AttentionTask& task,
                                                std::int64_t position) {
  return a.causal ? task.past + position + 1 : task.k_len;
}

/// What a row of the block sees of the tile that starts at key `tile`; rows past the end nothing.
__device__ __forceinline__ Range visible(const Attention& a, const AttentionTask& task, int row,
                                         std::int64_t tile) {
  if (task.begin + row >= task.end) {
    return {0, 0};
  }
  const std::int64_t position = position_of(a, task, row);
  const std::int64_t first = first_key(a, task, position) - tile;
  const std::int64_t last = end_key(a, task, position) - tile;
  const Range range{static_cast<int>(first > 0 ? first : 0),
                    static_cast<int>(last < kKeys ? last : kKeys)};
  return range.begin < range.end ? range : Range{0, 0};
}

/// Rows of a matrix into shared memory as FP32, zeros in the padding and beyond `count`.
template <typename T, typename RowPointer>
__device__ __forceinline__ void load_tile(float* to, int stride, int head_dim, int count, int limit,
                                          const RowPointer& row_pointer) {
  constexpr int kLanes = 32;
  for (int r = static_cast<int>(threadIdx.x) / kLanes; r < limit; r += kThreads / kLanes) {
    const T* from = r < count ? row_pointer(r) : nullptr;
    for (int d = static_cast<int>(threadIdx.x) % kLanes; d < stride; d += kLanes) {
      to[r * stride + d] = from != nullptr && d < head_dim ? widen(from[d]) : 0.0F;
    }
  }
}

__device__ __forceinline__ Four load_four(const float* from) {
  return *reinterpret_cast<const Four*>(from);
}

/// scores = scale * q k^T, soft-capped, of every row with every key of the tile.
__device__ __forceinline__ void score(const Attention& a, const Tiles& tiles, int ty, int tx) {
  float sums[kOwnRows][kOwnKeys] = {};
  const int fours = (static_cast<int>(a.head_dim) + 3) / 4;
#pragma unroll 1
  for (int d = 0; d < fours; ++d) {
    Four q[kOwnRows];
    Four k[kOwnKeys];
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i) {
      q[i] = load_four(tiles.queries + (kOwnRows * ty + i) * tiles.stride + 4 * d);
    }
#pragma unroll
    for (int j = 0; j < kOwnKeys; ++j) {
      k[j] = load_four(tiles.keys + (tx + 16 * j) * tiles.stride + 4 * d);
    }
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i) {
#pragma unroll
      for (int j = 0; j < kOwnKeys; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          sums[i][j] = fmaf(q[i].at[e], k[j].at[e], sums[i][j]);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kOwnRows; ++i) {
#pragma unroll
    for (int j = 0; j < kOwnKeys; ++j) {
      float s = sums[i][j] * a.scale;
      if (a.softcap > 0.0F) {
        s = a.softcap * tanh_of(s / a.softcap);
      }
      tiles.scores[(kOwnRows * ty + i) * kScoreStride + tx + 16 * j] = s;
    }
  }
}

/// A row's scores to probabilities over the running maximum; four threads, keys `part` + 4 i each.
template <typename T>
__device__ __forceinline__ void softmax(const Tiles& tiles, int row, int part, const Range& range) {
  float* x = tiles.scores + row * kScoreStride;
  const float old_max = tiles.max[row];
  float max = old_max;
  for (int key = part; key < range.end; key += 4) {
    max = key >= range.begin && x[key] > max ? x[key] : max;  // a NaN is not higher
  }
#pragma unroll
  for (int bit = 1; bit < 4; bit *= 2) {
    const float other = __shfl_xor_sync(kAllLanes, max, bit);
    max = other > max ? other : max;
  }
  // Nothing but -inf so far: e^-inf, not e^(inf - inf).
  const float base = max == -INFINITY ? 0.0F : max;
  float sum = 0.0F;
  for (int key = part; key < range.end; key += 4) {
    if (key >= range.begin) {
      const float e = exp_of_negative(x[key] - base);
      sum += e;
      x[key] = rounded<T>(e);  // as serving engines do before the product with v
    }
  }
#pragma unroll
  for (int bit = 1; bit < 4; bit *= 2) {
    sum += __shfl_xor_sync(kAllLanes, sum, bit);
  }
  if (part == 0 && range.end > 0) {
    const float factor = max == old_max ? 1.0F : exp_of_negative(old_max - base);
    tiles.max[row] = max;
    tiles.total[row] = tiles.total[row] * factor + sum;
    tiles.factor[row] = factor;
  }
}

/// sums = sums * factor + the tile's probabilities times its values.
template <int kFours>
__device__ __forceinline__ void weigh(const Tiles& tiles, int ty, int tx,
                                      const Range (&range)[kOwnRows],
                                      float (&sums)[kOwnRows][4 * kFours]) {
  int low = kKeys;
  int high = 0;
  bool all = true;  // every row sees the whole tile
#pragma unroll
  for (int i = 0; i < kOwnRows; ++i) {
    if (range[i].end > 0) {
      low = range[i].begin < low ? range[i].begin : low;
      high = range[i].end > high ? range[i].end : high;
      const float factor = tiles.factor[kOwnRows * ty + i];
#pragma unroll
      for (int c = 0; c < 4 * kFours; ++c) {
        sums[i][c] *= factor;
      }
    }
    all = all && range[i].begin == 0 && range[i].end == kKeys;
  }
#pragma unroll 2
  for (int key = low; key < high; ++key) {
    Four v[kFours];
#pragma unroll
    for (int j = 0; j < kFours; ++j) {
      const int column = 4 * tx + 64 * j;
      v[j] = column < tiles.stride ? load_four(tiles.keys + key * tiles.stride + column) : Four{};
    }
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i) {
      if (all || (key >= range[i].begin && key < range[i].end)) {
        const float p = tiles.scores[(kOwnRows * ty + i) * kScoreStride + key];
#pragma unroll
        for (int c = 0; c < 4 * kFours; ++c) {
          sums[i][c] = fmaf(p, v[c / 4].at[c % 4], sums[i][c]);
        }
      }
    }
  }
}

/// kFours: 64 of them hold a head, so head_dim <= 64 kFours.
template <typename T, int kFours>
__global__ void __launch_bounds__(kThreads, kFours <= 2 ? 2 : 1) attention_kernel(Attention a) {
  MG_DYNAMIC_SHARED(float, shared);
  const Tiles tiles(shared, static_cast<int>(a.head_dim));
  const AttentionTask task = a.tasks[blockIdx.x];
  const std::int64_t kv_head = blockIdx.y;
  const int tid = static_cast<int>(threadIdx.x);
  const int ty = tid / 16;
  const int tx = tid % 16;
  const int dim = static_cast<int>(a.head_dim);
  const int rows = static_cast<int>(task.end - task.begin);

  const auto head_of = [&](const Rows& x, int row) {
    const std::int64_t head = kv_head * a.heads_per_kv + (task.begin + row) % a.heads_per_kv;
    return row_of<T>(x, task.q_row + position_of(a, task, row)) + head * a.head_dim;
  };
  load_tile<T>(tiles.queries, tiles.stride, dim, rows, kRows,
               [&](int r) { return head_of(a.q, r); });
  if (tid < kRows) {
    tiles.max[tid] = -INFINITY;
    tiles.total[tid] = 0.0F;
    tiles.factor[tid] = 1.0F;
  }
  float sums[kOwnRows][4 * kFours] = {};
  const std::int64_t last = end_key(a, task, position_of(a, task, rows - 1));
  std::int64_t tile = first_key(a, task, position_of(a, task, 0)) / kKeys * kKeys;
  for (; tile < last; tile += kKeys) {
    const int keys = static_cast<int>(task.k_len - tile < kKeys ? task.k_len - tile : kKeys);
    const auto row_at = [&](const Rows& x, int key) {
      return row_of<T>(x, task.k_row + tile + key) + kv_head * a.head_dim;
    };
    __syncthreads();  // the last tile's values have been read
    load_tile<T>(tiles.keys, tiles.stride, dim, keys, kKeys, [&](int k) { return row_at(a.k, k); });
    __syncthreads();
    score(a, tiles, ty, tx);
    __syncthreads();
    softmax<T>(tiles, tid / 4, tid % 4, visible(a, task, tid / 4, tile));
    load_tile<T>(tiles.keys, tiles.stride, dim, keys, kKeys, [&](int k) { return row_at(a.v, k); });
    __syncthreads();
    Range range[kOwnRows];
#pragma unroll
    for (int i = 0; i < kOwnRows; ++i) {
      range[i] = visible(a, task, kOwnRows * ty + i, tile);
    }
    weigh<kFours>(tiles, ty, tx, range, sums);
  }
#pragma unroll
  for (int i = 0; i < kOwnRows; ++i) {
    const int row = kOwnRows * ty + i;
    if (row >= rows) {
      continue;
    }
    T* out = head_of(a.out, row);
    const float total = tiles.total[row];
#pragma unroll
    for (int c = 0; c < 4 * kFours; ++c) {
      const int d = 4 * tx + 64 * (c / 4) + c % 4;
      if (d < dim) {
        narrow(sums[i][c] / total, out[d]);
      }
    }
  }
}

template <typename T, int kFours>
void start(const Attention& call, cudaStream_t stream) {
  launch("attention",
         {dim3(static_cast<unsigned>(call.task_count), static_cast<unsigned>(call.kv_heads)),
          dim3(kThreads), attention_shared_bytes(call.head_dim)},
         stream, attention_kernel<T, kFours>, call);
}

}  // namespace

std::size_t attention_shared_bytes(std::int64_t head_dim) {
  const int stride = tile_stride(static_cast<int>(head_dim));
  return sizeof(float) *
         static_cast<std::size_t>((kRows + kKeys) * stride + kRows * kScoreStride + 3 * kRows);
}

void attention(const Attention& call, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    if (call.head_dim <= 64) {
      start<T, 1>(call, stream);
    } else if (call.head_dim <= 128) {
      start<T, 2>(call, stream);
    } else {
      start<T, 4>(call, stream);
    }
  });
}

}  // namespace mg::cuda
