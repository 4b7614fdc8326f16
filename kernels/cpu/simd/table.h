// The functions that exist once per instruction set, as a table of pointers: kernels/cpu/*.cc
// splits an operation over rows and threads and calls these on blocks.  The sources in this folder
// are compiled once per set (portable, avx2, avx512) with different flags and MG_ISA naming the
// namespace; all sets give the same bits, because every output element is computed by the same
// sequence of IEEE operations (vec.h).
//
// Plain data only, no standard library templates: an inline function compiled here with AVX-512
// flags must never be the copy the linker keeps for the rest of the program
// (tests/kernels/isa_symbols_test.cmake).
#pragma once

#include <cstddef>
#include <cstdint>

namespace mg::cpu {

/// After which rounding an activation is kept (mg::Arithmetic as the kernels see it).
enum class Rounding : std::uint8_t { kNone, kF16, kBf16 };

/// Weight formats that are widened while packing; others are widened to FP32 by the caller first.
enum class WeightKind : std::uint8_t { kF16, kBf16, kF32 };

enum class Activation : std::uint8_t { kSilu, kGeluTanh, kGeluErf, kQuickGelu, kRelu };

/// k is summed in equal blocks of at most this many: out = (first block) + (second) + ...; part of
/// every result's bits.
constexpr std::int64_t kGemmBlockK = 288;
/// Keys are visited in tiles of this many, counted from the segment's first key; part of every
/// result's bits.
constexpr std::int64_t kAttentionTile = 128;

/// Outputs of one matrix: out [rows, cols] = x [rows, k] * w^T, w [cols, k] (or [k, cols] if
/// `transposed`).
struct GemmPiece {
  const std::byte* w;     // any alignment
  std::int64_t w_stride;  // bytes between rows of the stored matrix
  WeightKind kind;
  bool transposed;
  std::int64_t cols;
  float* out;
  std::int64_t out_stride;
};

/// The same rows of x times the outputs of `count` matrices.
struct GemmBlock {
  const float* x;
  std::int64_t x_stride;  // elements
  std::int64_t rows;
  std::int64_t k;
  const GemmPiece* pieces;
  std::int64_t count;
  float* scratch;  // gemm_scratch(rows) elements, 64-byte aligned
};

/// Queries [q_begin, q_end) of one segment, all heads that share one key/value head.
struct AttentionBlock {
  const float* q;         // query 0 of the segment, first of the heads
  std::int64_t q_stride;  // elements between positions
  const float* k;         // key 0 of the segment, this key/value head
  std::int64_t k_stride;
  const float* v;
  std::int64_t v_stride;
  float* out;  // as q
  std::int64_t out_stride;
  std::int64_t q_begin, q_end;
  std::int64_t first_position;  // of query 0 among the keys
  std::int64_t k_len;
  std::int64_t heads;  // heads per key/value head
  std::int64_t head_dim;
  float scale;
  float softcap;        // 0: none
  std::int64_t window;  // 0: none
  bool causal;
  Rounding rounding;
  float* scratch;  // attention_scratch(...) elements, 64-byte aligned
};

struct KernelTable {
  const char* name;
  std::int64_t
      tile_rows;  // MR, NR: the register tile of the matrix product, for choosing block sizes
  std::int64_t tile_cols;

  // gemm.cc
  std::int64_t (*gemm_scratch)(std::int64_t rows);
  void (*gemm)(const GemmBlock& block);

  // attention.cc
  std::int64_t (*attention_scratch)(std::int64_t queries, std::int64_t heads,
                                    std::int64_t head_dim);
  void (*attention)(const AttentionBlock& block);

  // elementwise.cc: rows of n elements
  void (*round)(Rounding rounding, float* x, std::int64_t n);
  /// y = round(y + x)
  void (*add)(Rounding rounding, const float* x, float* y, std::int64_t n);
  /// y = round(y + round(factor * x))
  void (*add_scaled)(Rounding rounding, float factor, const float* x, float* y, std::int64_t n);
  /// out = round(factor * x); out may be x
  void (*scale)(Rounding rounding, float factor, const float* x, float* out, std::int64_t n);
  /// y = round(y * factors)
  void (*multiply)(Rounding rounding, const float* factors, float* y, std::int64_t n);
  /// Rotates x1 [n], x2 [n] by the angles whose cos and sin are given.
  void (*rotate)(Rounding rounding, const float* cos, const float* sin, float* x1, float* x2,
                 std::int64_t n);

  // activation.cc
  void (*activation)(Rounding rounding, Activation kind, float* x, std::int64_t n);
  void (*gated_activation)(Rounding rounding, Activation kind, const float* gate, const float* up,
                           float* out, std::int64_t n);
  void (*softcap)(Rounding rounding, float cap, float* x, std::int64_t n);
  /// out = exp(x - max(x)); returns the sum of out.
  float (*exp_row)(const float* x, float* out, std::int64_t n);

  // norm.cc; gain already holds the weight offset
  void (*rms_norm)(Rounding rounding, bool round_normal, const float* x, const float* gain,
                   double eps, float* out, std::int64_t n);
  /// shift may be null
  void (*layer_norm)(Rounding rounding, const float* x, const float* gain, const float* shift,
                     double eps, float* out, std::int64_t n);

  // math.h over arrays, for the tests of its error bounds
  void (*exp)(const float* x, float* out, std::int64_t n);
  void (*tanh)(const float* x, float* out, std::int64_t n);
  void (*fma)(const float* a, const float* b, const float* c, float* out, std::int64_t n);
};

/// The table of an instruction set by name, or null when the build or this machine lacks it.
const KernelTable* find_kernels(const char* isa);

}  // namespace mg::cpu
