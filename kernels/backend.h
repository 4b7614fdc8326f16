// The operations of a transformer's forward pass, as every backend (kernels/reference, cpu, cuda)
// offers them.
//
// Not for: what a layer is made of (harness/model/forward.cc) or how files are read.  A backend
// never sees a file: weights come as TensorViews into host memory, activations live in Buffers that
// the backend owns. The numeric contract of each operation (accumulator, rounding, error bound) is
// in kernels/contract; every backend passes the same conformance suite against kernels/reference
// (tests/kernels/conformance_test.cc).
//
// Shapes: [rows, cols], T tokens (rows of all prompts and lanes packed), H hidden, N heads, G
// key/value heads, D head size, V vocabulary, R rank, K inputs and M outputs of a linear map.
// Aliasing: an output may be the same Mat as an input only where the comment says so.
// Determinism: a row of any output depends on that row's inputs alone, with the same bits for any
// number of threads and any split of the rows into calls.  The cpu backend keeps this from one row
// up and for every instruction set; a backend on a library's GEMM keeps it for linear() and
// low_rank() calls of kMinStableRows rows or more, and below only the contract's bound.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/tensor_view.h"

namespace mg {

class MergeStatistics;  // kernels/merge_statistics.h
class RowStatistics;    // kernels/row_statistics.h
class ThreadPool;
struct EightBitMatrix;  // kernels/core/dequantise.h
struct FourBitMatrix;

/// How activations are kept (DESIGN.md section 3): FP32, or rounded to FP16 / BF16 after every
/// operation.
enum class Arithmetic : std::uint8_t { kExact, kFp16, kBf16 };

enum class ActivationKind : std::uint8_t { kSilu, kGeluTanh, kGeluErf, kQuickGelu, kRelu };

constexpr std::int64_t kMinStableRows = 16;

/// attention() visits keys in tiles, counted from a segment's first key, whose size divides this:
/// keys that no query sees may be left out in front, this many at a time, without changing a bit.
constexpr std::int64_t kKeyTile = 128;

/// Memory of a backend, in its own format.
class Buffer {
 public:
  virtual ~Buffer() = default;
};

/// Activations: a window into a Buffer.  Elements of row r are at offset + r*stride + [0, cols).
struct Mat {
  Buffer* buffer = nullptr;
  std::int64_t offset = 0;  // in elements
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  Mat row_range(std::int64_t begin, std::int64_t count) const {
    return {buffer, offset + begin * stride, count, cols, stride};
  }
  Mat col_range(std::int64_t begin, std::int64_t count) const {
    return {buffer, offset + begin, rows, count, stride};
  }
};

/// What a weight that is stored as codes is decoded from (kernels/core/dequantise.h): one of the
/// two.  Neither: a plain weight, or codes of a form that the host alone decodes.
struct WeightCodes {
  const FourBitMatrix* four_bit = nullptr;
  const EightBitMatrix* eight_bit = nullptr;

  bool empty() const { return four_bit == nullptr && eight_bit == nullptr; }
};

/// A stored weight matrix.  `transposed`: [K, M] (Conv1D) instead of [M, K].
struct Weight {
  TensorView values;
  bool transposed = false;
  // `values` are what these give, bit for bit.  A backend that takes codes reads them in place of
  // the values, whose bytes need not be there; to others they say nothing.
  WeightCodes codes = {};

  bool empty() const { return values.empty(); }
  std::int64_t outputs() const { return values.dim(transposed ? 1 : 0); }
  std::int64_t inputs() const { return values.dim(transposed ? 0 : 1); }
};

/// Rows of queries and the rows of keys they may see: a prompt, or one step of it against its
/// cache. Query i of the segment stands at position k_len - q_len + i of the keys.
struct AttentionSegment {
  std::int64_t q_begin = 0;
  std::int64_t q_len = 0;
  std::int64_t k_begin = 0;
  std::int64_t k_len = 0;
};

struct AttentionParams {
  std::int64_t heads = 0;     // N
  std::int64_t kv_heads = 0;  // G, divides N
  std::int64_t head_dim = 0;  // D
  double scale = 0;           // scores are multiplied by it; positive
  double softcap = 0;         // s -> cap * tanh(s / cap); 0: none
  std::int64_t window = 0;  // a query sees itself and the window-1 keys before it; 0: all before it
  bool causal = true;       // false: every key of the segment (vision)
};

/// One of several linear maps of the same rows.
struct LinearMap {
  Weight weight;
  TensorView bias;  // empty: none
  Mat out;
};

struct RoutedExperts {
  std::vector<std::int32_t> expert;  // [T * k], best first
  std::vector<float> weight;         // [T * k]
};

/// How a backend is made (kernels/registry.h).
struct BackendOptions {
  Arithmetic arithmetic = Arithmetic::kExact;
  ThreadPool* pool = nullptr;  // outlives the backend; required
  std::string isa;             // "" picks the best; "portable", "avx2", "avx512" pins it
  int device = 0;              // which of Backend::devices()
};

struct BackendInfo {
  std::string name;  // "cpu"
  std::string isa;   // "avx2", "avx512", "portable", "sm_90"
  int threads = 1;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual BackendInfo info() const = 0;
  virtual Arithmetic arithmetic() const = 0;
  /// From how many rows on a row of linear() and low_rank() has the same bits in any call.
  virtual std::int64_t min_stable_rows() const { return kMinStableRows; }
  /// How many devices of this one's kind there are: backends on each give the same bits.
  virtual int devices() const { return 1; }
  /// To be called first by a thread other than the one that made the backend; a backend is used by
  /// one thread at a time.
  virtual void enter_thread() {}
  /// What a reader of the report should know of how it went: memory was short, and what was done.
  virtual std::vector<std::string> notes() const { return {}; }

  // Memory
  // ------------------------------------------------------------------------------------------------
  /// Room for `elements` activations, contents undefined.
  virtual std::unique_ptr<Buffer> allocate(std::int64_t elements) = 0;
  /// values [rows*cols] row-major -> out, rounded to the arithmetic.
  virtual void upload(std::span<const float> values, Mat out) = 0;
  /// x -> FP32 row-major.  Returns a span into backend memory where that is possible without a copy
  /// (x contiguous, valid until x is next written), else fills and returns `staging`.
  virtual std::span<const float> read(Mat x, std::vector<float>& staging) = 0;
  /// out = x; rows and cols equal.
  virtual void copy(Mat x, Mat out) = 0;
  /// out[i] = x[rows[i]]; out has rows.size() rows.
  virtual void gather_rows(Mat x, std::span<const std::int32_t> rows, Mat out) = 0;
  /// out[rows[i]] += factor[i] * x[i], i ascending; rows may not repeat within a call.
  virtual void scatter_add_rows(Mat x, std::span<const std::int32_t> rows,
                                std::span<const float> factors, Mat out) = 0;
  virtual void fill_zero(Mat out) = 0;

  /// Weights soon needed / no longer needed.  A device backend copies ahead into a slot and frees
  /// it; views not announced are copied when used.  Weights are recognised by the address of their
  /// bytes.
  virtual void prefetch(std::span<const Weight> weights) { static_cast<void>(weights); }
  virtual void release(std::span<const Weight> weights) { static_cast<void>(weights); }
  /// Whether it decodes weights by itself: those announced with Weight::codes, until they are
  /// released, wherever their `values` are named.
  virtual bool takes_codes() const { return false; }

  // Embedding
  // ---------------------------------------------------------------------------------------------
  /// out[t] = factor * table[ids[t]], table [V, H].  ids are in range (checked by the caller).
  virtual void embed(const TensorView& table, std::span<const std::int32_t> ids, double factor,
                     Mat out) = 0;
  /// y[t] += scale * B * A[:, ids[t]]: LoRA of an embedding, A [R, V], B [H, R].
  virtual void low_rank_embed(std::span<const std::int32_t> ids, const TensorView& a,
                              const TensorView& b, double scale, Mat y) = 0;

  // Normalisation
  // -----------------------------------------------------------------------------------------
  /// Each row of x is `groups` vectors of cols/groups elements, normalised apart:
  /// out = x / sqrt(mean(x^2) + eps) * (w + weight_offset), w [cols/groups].  out may be x.
  virtual void rms_norm(Mat x, const TensorView& weight, double eps, double weight_offset,
                        std::int64_t groups, Mat out) = 0;
  /// out = (x - mean) / sqrt(var + eps) * w + b; var is biased.  out may be x.
  virtual void layer_norm(Mat x, const TensorView& weight, const TensorView& bias, double eps,
                          Mat out) = 0;
  /// add(x, y), then the norm of y's rows (one group each) into out, which overlaps neither: the
  /// bits of the two calls.  A backend may pass over the rows once.
  virtual void add_rms_norm(Mat x, Mat y, const TensorView& weight, double eps,
                            double weight_offset, Mat out) {
    add(x, y);
    rms_norm(y, weight, eps, weight_offset, 1, out);
  }
  virtual void add_layer_norm(Mat x, Mat y, const TensorView& weight, const TensorView& bias,
                              double eps, Mat out) {
    add(x, y);
    layer_norm(y, weight, bias, eps, out);
  }

  // Linear maps
  // -------------------------------------------------------------------------------------------
  /// out [T, M] = x [T, K] * W^T + bias (bias empty: none).
  virtual void linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) = 0;
  /// linear() with each of several maps of the same x, to the same bits.  Outputs do not overlap.
  virtual void linear_maps(Mat x, std::span<const LinearMap> maps) {
    for (const LinearMap& map : maps) {
      linear(x, map.weight, map.bias, map.out);
    }
  }
  /// y [T, M] += scale * (x [T, K] * A^T) * B^T, A [R, K], B [M, R].  In fp16 / bf16 arithmetic
  /// each product is rounded, then scaled, then added, as PEFT and Punica do.
  virtual void low_rank(Mat x, const TensorView& a, const TensorView& b, double scale, Mat y) = 0;
  /// y[:, c] *= factors[c]: DoRA's magnitude / norm, [M].
  virtual void scale_columns(std::span<const float> factors, Mat y) = 0;
  /// y[:, c] += factor * vector[c], vector [M].
  virtual void add_vector(const TensorView& vector, double factor, Mat y) = 0;

  // Attention
  // ---------------------------------------------------------------------------------------------
  /// Rotates in place the first `rotary_dim` elements of each of the `heads` vectors of a row,
  /// pairing element i with i + rotary_dim/2 (transformers' rotate_half).  cos, sin: [T,
  /// rotary_dim/2].
  virtual void rope(Mat cos, Mat sin, std::int64_t heads, std::int64_t rotary_dim, Mat x) = 0;
  /// out [T, N*D] = softmax(softcap(scale * q k^T) + mask) v, per segment; q [T, N*D], k and v [*,
  /// G*D].
  virtual void attention(Mat q, Mat k, Mat v, std::span<const AttentionSegment> segments,
                         const AttentionParams& params, Mat out) = 0;

  // Element-wise
  // ------------------------------------------------------------------------------------------
  /// y += x
  virtual void add(Mat x, Mat y) = 0;
  /// out = act(gate) * up; out may be gate or up.
  virtual void gated_activation(ActivationKind kind, Mat gate, Mat up, Mat out) = 0;
  /// x = act(x)
  virtual void activation(ActivationKind kind, Mat x) = 0;
  /// x = cap * tanh(x / cap)
  virtual void softcap(double cap, Mat x) = 0;

  // Mixture of experts
  // ------------------------------------------------------------------------------------
  /// Softmax over the router's logits [T, E] in FP32, the k largest (ties: lower index first),
  /// divided by their sum if `normalise` (transformers' Qwen3MoeTopKRouter).
  virtual RoutedExperts route_top_k(Mat logits, std::int64_t k, bool normalise) = 0;

  /// Statistics of rows where they lie; null where reading them costs nothing.
  virtual RowStatistics* row_statistics() { return nullptr; }
  /// What the audit sums up, from stored weights; null where the host is as near.
  virtual MergeStatistics* merge_statistics() { return nullptr; }
};

/// A whole buffer as a matrix.
inline Mat whole(Buffer& buffer, std::int64_t rows, std::int64_t cols) {
  return {&buffer, 0, rows, cols, cols};
}

}  // namespace mg
