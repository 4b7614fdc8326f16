// The kernels as host code sees them: one function a launch, plain values, pointers to device
// memory. Each .cu file holds the kernels of one operation; the .cc file of the same stem decides
// what to launch.
//
// Every function queues work on `stream` and returns.  Results are rounded to `element`, with the
// roundings in between that kernels/contract/README.md lists; sums run in an order that depends on
// the sizes of a row alone.  Compiled without contraction (-fmad=false), so that the arithmetic is
// that of the host emulation, bit for bit.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/core/dequantise.h"
#include "kernels/core/dtype.h"
#include "kernels/core/row_sums.h"
#include "kernels/merge_statistics.h"
#include "kernels/row_statistics.h"

namespace mg::cuda {

/// How activations are stored.
enum class Element : std::uint8_t { kF32, kF16, kBf16 };

constexpr std::int64_t element_bytes(Element element) {
  return element == Element::kF32 ? 4 : 2;
}

/// Activations on the device: row r at data + r * stride elements.
struct Rows {
  void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;
};

/// Rows [begin, begin + count).
inline Rows part_of(const Rows& x, std::int64_t begin, std::int64_t count, Element element) {
  auto* data = static_cast<std::byte*>(x.data) + begin * x.stride * element_bytes(element);
  return {data, count, x.cols, x.stride};
}

/// Stored values on the device, in a file's dtype, contiguous and aligned.
struct Stored {
  const void* data = nullptr;
  DType dtype = DType::kF32;
};

// memory.cu
/// out = x, x FP32 and contiguous.
void import_rows(const float* x, Rows out, Element element, cudaStream_t stream);
/// out[i] = x[rows[i]]; without `rows` out = x.
void gather(Rows x, const std::int32_t* rows, Rows out, Element element, cudaStream_t stream);
void scatter_add(Rows x, const std::int32_t* rows, const float* factors, Rows out, Element element,
                 cudaStream_t stream);
void fill_zero(Rows out, Element element, cudaStream_t stream);

// embedding.cu
/// out[t] = factor * table[ids[t]]; without `ids` row t of the table.
void embed(Stored table, const std::int32_t* ids, float factor, Rows out, Element element,
           cudaStream_t stream);

// norm.cu
struct RmsNorm {
  Stored weight;
  double eps = 0;
  float weight_offset = 0;
  std::int64_t groups = 1;
};
/// Where update.data is not null, x += update first; then out may not be x.
void rms_norm(Rows x, Rows update, const RmsNorm& norm, Rows out, Element element,
              cudaStream_t stream);
/// The same; bias.data may be null.
void layer_norm(Rows x, Rows update, Stored weight, Stored bias, double eps, Rows out,
                Element element, cudaStream_t stream);

// linear.cu
/// A stored matrix [rows, cols] as `element`, its rows `stride` apart.
void convert(Stored matrix, std::int64_t rows, std::int64_t cols, void* out, std::int64_t stride,
             Element element, cudaStream_t stream);

// dequantise.cu
/// Rows [begin, begin + count) of a matrix of codes, all its parts in device memory, as `element`,
/// `stride` apart: the bits of mg::dequantise_rows() before they are rounded.
void dequantise(const FourBitMatrix& matrix, std::int64_t begin, std::int64_t count, void* out,
                std::int64_t stride, Element element, cudaStream_t stream);
void dequantise(const EightBitMatrix& matrix, std::int64_t begin, std::int64_t count, void* out,
                std::int64_t stride, Element element, cudaStream_t stream);

// low_rank.cu
/// y += scale * product, each step rounded.
void add_scaled(Rows product, float scale, Rows y, Element element, cudaStream_t stream);

// elementwise.cu
void scale_columns(const float* factors, Rows y, Element element, cudaStream_t stream);
void add_vector(Stored vector, float factor, Rows y, Element element, cudaStream_t stream);
void add(Rows x, Rows y, Element element, cudaStream_t stream);

// rope.cu
void rope(Rows cos, Rows sin, std::int64_t heads, std::int64_t rotary_dim, Rows x, Element element,
          cudaStream_t stream);

// attention.cu
constexpr std::int64_t kAttentionRows = 64;  // (position, head) pairs of one block
constexpr std::int64_t kAttentionKeys = 64;  // keys of one tile
constexpr std::int64_t kLargestHead = 256;   // head_dim

/// What one block computes: up to kAttentionRows rows of one segment, counted position by position,
/// head by head of one key/value head.
struct AttentionTask {
  std::int64_t q_row = 0;  // the segment's first query
  std::int64_t k_row = 0;  // its first key
  std::int64_t k_len = 0;
  std::int64_t past = 0;   // keys before query 0: k_len - q_len
  std::int64_t begin = 0;  // rows [begin, end)
  std::int64_t end = 0;
};
struct Attention {
  Rows q, k, v, out;
  const AttentionTask* tasks = nullptr;  // on the device
  std::int64_t task_count = 0;
  std::int64_t heads_per_kv = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 0;
  float scale = 0;
  float softcap = 0;
  std::int64_t window = 0;
  bool causal = true;
};
void attention(const Attention& call, Element element, cudaStream_t stream);
/// Dynamic shared memory of one block.
std::size_t attention_shared_bytes(std::int64_t head_dim);

// activation.cu
void gated_activation(ActivationKind kind, Rows gate, Rows up, Rows out, Element element,
                      cudaStream_t stream);
void activation(ActivationKind kind, Rows x, Element element, cudaStream_t stream);
void softcap(float cap, Rows x, Element element, cudaStream_t stream);

// route.cu
/// expert, weight: [T, k] on the device.
void route_top_k(Rows logits, std::int64_t k, bool normalise, std::int32_t* expert, float* weight,
                 Element element, cudaStream_t stream);

// row_statistics.cu
/// Rows of any backend on this device.
struct DeviceRows {
  const void* data = nullptr;
  std::int64_t stride = 0;
  Element element = Element::kF32;
};
/// In place of a token that there is none of.  (The host's -1 is how memory looks that nobody
/// wrote.)
constexpr std::int32_t kNoToken = INT32_MAX;
/// Pointers: to device memory.  out: [lanes * rows].
void scan_logits(const DeviceRows* lanes, std::int64_t lane_count, std::int64_t rows,
                 std::int64_t vocabulary, LaneSweep* out, cudaStream_t stream);
struct LogitComparison {
  const DeviceRows* lanes = nullptr;
  const LaneSweep* sweeps = nullptr;  // of scan_logits()
  const LanePair* pairs = nullptr;
  std::int64_t pair_count = 0;
  std::int64_t rows = 0;
  std::int64_t vocabulary = 0;
  const std::int32_t* next = nullptr;  // [rows]
};
/// out: [pairs * rows], all zero before.
void compare_logits(const LogitComparison& call, PairSweep* out, cudaStream_t stream);
/// out: [rows]; reference_rows may be null.
void row_squares(DeviceRows subject, DeviceRows reference, const std::int32_t* reference_rows,
                 std::int64_t rows, std::int64_t width, RowSquares* out, cudaStream_t stream);

// merge_statistics.cu
/// Part of a MergePass, its pointers to device memory: base and merged hold the elements from
/// `begin` on, left and right are whole.
struct MergeSlice {
  Stored base, merged;
  const double* left = nullptr;
  const double* right = nullptr;
  std::int64_t rank = 0;
  std::int64_t cols = 0;
  double scale = 0;
  double scale_low = 0;
  double scale_high = 0;
  GridFormat store;     // merged's
  double half_ulp = 0;  // of merged's dtype at 1
  std::int64_t begin = 0;
  const MergeChunk* chunks = nullptr;
  std::int64_t chunk_count = 0;
};
/// sums: [chunks], looks: [chunks * kMergeGroups].
void merge_statistics(const MergeSlice& slice, MergeSums* sums, GroupLook* looks,
                      cudaStream_t stream);

}  // namespace mg::cuda
