// The CPU backend: FP32 activations, weights read straight from the file's bytes, every core.
//
// Three layers.  This folder: one file per operation; checks arguments, cuts the work into blocks,
// hands blocks to threads.  simd/: what happens inside a block, compiled once per instruction set
// behind a table of functions. kernels/core/parallel.h: the threads.  A result's bits depend on
// none of the cuts (simd/tile.h says why), so blocks are sized for speed alone.
//
// Matrix products use our own kernel rather than oneDNN's: oneDNN's bits depend on the number of
// rows (measured, version 2.6.3 with AVX2: rows modulo 6, and the size of the call) and on the
// instruction set, ours on neither; kernels/bench compares the speed of the two.
#pragma once

#include <functional>
#include <memory>

#include "kernels/backend.h"
#include "kernels/core/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd/table.h"

namespace mg::cpu {

class FloatBuffer final : public Buffer {
 public:
  explicit FloatBuffer(std::int64_t elements) : values_(elements) {}
  float* data() const { return values_.data(); }
  std::int64_t size() const { return values_.size(); }

 private:
  AlignedFloats values_;
};

/// A Mat's elements: row r at data + r * stride.
struct Rows {
  float* data = nullptr;
  std::int64_t stride = 0;

  float* row(std::int64_t r) const { return data + r * stride; }
};
Rows rows_of(const Mat& x);

class CpuBackend final : public Backend {
 public:
  CpuBackend(const KernelTable& kernels, Arithmetic arithmetic, ThreadPool& pool);

  BackendInfo info() const override { return {"cpu", kernels_.name, pool_.threads()}; }
  Arithmetic arithmetic() const override { return arithmetic_; }
  std::int64_t min_stable_rows() const override { return 1; }

  // memory.cc
  std::unique_ptr<Buffer> allocate(std::int64_t elements) override;
  void upload(std::span<const float> values, Mat out) override;
  std::span<const float> read(Mat x, std::vector<float>& staging) override;
  void copy(Mat x, Mat out) override;
  void gather_rows(Mat x, std::span<const std::int32_t> rows, Mat out) override;
  void scatter_add_rows(Mat x, std::span<const std::int32_t> rows, std::span<const float> factors,
                        Mat out) override;
  void fill_zero(Mat out) override;
  // embedding.cc
  void embed(const TensorView& table, std::span<const std::int32_t> ids, double factor,
             Mat out) override;
  void low_rank_embed(std::span<const std::int32_t> ids, const TensorView& a, const TensorView& b,
                      double scale, Mat y) override;
  // norm.cc
  void rms_norm(Mat x, const TensorView& weight, double eps, double weight_offset,
                std::int64_t groups, Mat out) override;
  void layer_norm(Mat x, const TensorView& weight, const TensorView& bias, double eps,
                  Mat out) override;
  // linear.cc
  void linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) override;
  void linear_maps(Mat x, std::span<const LinearMap> maps) override;
  // low_rank.cc
  void low_rank(Mat x, const TensorView& a, const TensorView& b, double scale, Mat y) override;
  // elementwise.cc
  void scale_columns(std::span<const float> factors, Mat y) override;
  void add_vector(const TensorView& vector, double factor, Mat y) override;
  void add(Mat x, Mat y) override;
  // rope.cc
  void rope(Mat cos, Mat sin, std::int64_t heads, std::int64_t rotary_dim, Mat x) override;
  // attention.cc
  void attention(Mat q, Mat k, Mat v, std::span<const AttentionSegment> segments,
                 const AttentionParams& params, Mat out) override;
  // activation.cc
  void gated_activation(ActivationKind kind, Mat gate, Mat up, Mat out) override;
  void activation(ActivationKind kind, Mat x) override;
  void softcap(double cap, Mat x) override;
  // route.cc
  RoutedExperts route_top_k(Mat logits, std::int64_t k, bool normalise) override;

 private:
  /// body(begin, end) over rows of `cols` elements, in pieces worth a thread's while.
  void for_rows(std::int64_t rows, std::int64_t cols,
                const std::function<void(std::int64_t, std::int64_t)>& body);
  /// One of the matrices that a product multiplies its rows by.
  struct Factor {
    const Weight* weight;
    Rows out;  // [rows, M]; without memory the sums are handed out in memory of the block's own
  };
  /// A part of a product, complete: outputs [col, col + cols) of a factor, rows [row, row + rows).
  struct Block {
    std::size_t factor;
    std::int64_t row;
    std::int64_t rows;
    std::int64_t col;
    std::int64_t cols;
    Rows sums;  // element (row, col) is sums.data[0]
  };
  using Finish = std::function<void(const Block& block)>;
  /// x [rows, K] times w^T of each factor in FP32, in blocks; `finish` is called with each
  /// (linear.cc).  Factors have the same K.
  void product(const Rows& x, std::int64_t rows, std::span<const Factor> factors,
               const Finish& finish);
  /// Blocks of the same rows, which are packed once for all of them.
  void multiply_block(const Rows& x, std::span<const Factor> factors, std::span<Block> blocks,
                      const Finish& finish);
  /// Outputs [begin, begin + cols) of a weight in FP32, in its own layout.
  void stage(const Weight& weight, std::int64_t begin, std::int64_t cols, float* out) const;
  /// A stored vector in FP32, rounded to the arithmetic as a server casts what it loads.
  void load_vector(const TensorView& vector, float* out) const;

  const KernelTable& kernels_;
  const Arithmetic arithmetic_;
  const Rounding rounding_;
  ThreadPool& pool_;
  ScratchPool scratch_;
};

/// Throws Error "backend.unavailable" when the machine lacks options.isa.
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

}  // namespace mg::cpu
