// The CUDA backend: FP32, FP16 or BF16 activations in device memory, products by cuBLASLt, kernels
// of our own for the rest.
//
// Three layers.  This folder's .cc files: one per operation; check arguments, bring weights, queue
// work, never wait but where a caller wants numbers.  The .cu files: the kernels, no decisions.
// Below: device.h (streams, memory), weights.h (uploads), gemm.h (products).  It is a shared
// library of its own, loaded by kernels/registry.cc when asked for (plugin.h).
//
// Not for: calls from several threads at once; each device has a backend of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/parallel.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/weights.h"
#include "kernels/merge_statistics.h"
#include "kernels/row_statistics.h"

namespace mg::cuda {

class DeviceBuffer final : public Buffer {
 public:
  DeviceBuffer(const Device& device, Element element, Memory memory, std::int64_t elements)
      : device_(device), element_(element), memory_(std::move(memory)), elements_(elements) {}
  const Device& device() const { return device_; }
  Element element() const { return element_; }
  void* data() const { return memory_.data(); }
  std::int64_t size() const { return elements_; }

 private:
  const Device& device_;
  Element element_;
  Memory memory_;
  std::int64_t elements_;
};

/// row_statistics.cc.  Reads what other backends on the device hold too, behind their work.
class DeviceStatistics final : public RowStatistics {
 public:
  explicit DeviceStatistics(Device& device) : device_(device) {}

  bool reaches(const Mat& x) const override;
  void sweep_logits(const LogitSweep& sweep, std::span<LaneSweep> lanes,
                    std::span<PairSweep> pairs) override;
  void squares(Mat subject, Mat reference, std::span<const std::int32_t> reference_rows,
               std::span<RowSquares> out) override;

 private:
  /// Its memory, once the compute stream has come behind all work that was queued on it.
  DeviceRows rows_of(const Mat& x);
  void bring(const Memory& from, std::size_t bytes, void* to);

  Device& device_;
};

/// merge_statistics.cc.  Some rows of a tensor are staged while the device works on those before.
class DeviceMerges final : public MergeStatistics {
 public:
  DeviceMerges(Device& device, ThreadPool& pool) : device_(device), pool_(pool) {}

  bool takes(DType base, DType merged) const override;
  bool sweep(const MergePass& pass, std::span<const MergeChunk> chunks, std::span<MergeSums> sums,
             std::span<GroupLook> looks) override;
  /// Tensors that memory was too short for.
  int refused() const { return refused_; }

 private:
  void send(const void* from, std::size_t bytes, void* to);
  Pinned fetch(const void* from, std::size_t bytes);

  Device& device_;
  ThreadPool& pool_;
  int refused_ = 0;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(Arithmetic arithmetic, ThreadPool& pool, int device);

  BackendInfo info() const override;
  Arithmetic arithmetic() const override { return arithmetic_; }
  std::vector<std::string> notes() const override;
  int devices() const override { return device_.count(); }
  void enter_thread() override { device_.choose(); }

  // memory.cc
  std::unique_ptr<Buffer> allocate(std::int64_t elements) override;
  void upload(std::span<const float> values, Mat out) override;
  std::span<const float> read(Mat x, std::vector<float>& staging) override;
  void copy(Mat x, Mat out) override;
  void gather_rows(Mat x, std::span<const std::int32_t> rows, Mat out) override;
  void scatter_add_rows(Mat x, std::span<const std::int32_t> rows, std::span<const float> factors,
                        Mat out) override;
  void fill_zero(Mat out) override;
  void prefetch(std::span<const Weight> weights) override { weights_.announce(weights); }
  void release(std::span<const Weight> weights) override { weights_.forget(weights); }
  bool takes_codes() const override { return true; }
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
  void add_rms_norm(Mat x, Mat y, const TensorView& weight, double eps, double weight_offset,
                    Mat out) override;
  void add_layer_norm(Mat x, Mat y, const TensorView& weight, const TensorView& bias, double eps,
                      Mat out) override;
  // linear.cc
  void linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) override;
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
  RowStatistics* row_statistics() override { return &statistics_; }
  MergeStatistics* merge_statistics() override { return &merges_; }

 private:
  /// Rows whose first elements lie at multiples of 16 bytes: x itself, or a copy kept in `memory`.
  struct Aligned {
    Memory memory;
    Rows rows;
  };

  /// A Mat's memory.
  Rows rows_of(const Mat& x) const;
  std::size_t bytes_of(std::int64_t elements) const {
    return static_cast<std::size_t>(elements * element_bytes(element_));
  }
  bool aligned(const Rows& x) const;
  /// Uninitialised, aligned.
  Aligned scratch(std::int64_t rows, std::int64_t cols, const char* what);
  /// The same, or nothing where memory is short.
  Aligned try_scratch(std::int64_t rows, std::int64_t cols);
  Aligned aligned_copy(const Rows& x);

  /// The norms of x, to which `update` (data may be null) is added first (norm.cc).
  void queue_rms_norm(Rows x, Rows update, const TensorView& weight, RmsNorm norm, Rows out);
  void queue_layer_norm(Rows x, Rows update, const TensorView& weight, const TensorView& bias,
                        double eps, Rows out);
  /// out = x w^T + bias (linear.cc); x and out aligned.
  void product(const Rows& x, const Weight& weight, const void* bias, const Rows& out);
  /// The same a piece of the outputs at a time.
  void product_in_pieces(const Rows& x, const Weight& weight, const void* bias, const Rows& out);
  void multiply(const Rows& x, const void* w, std::int64_t w_stride, const Weight& weight,
                const void* bias, const Rows& out);
  /// y += scale * x b^T, each step rounded, some rows at a time (low_rank.cc).
  void add_product(const Rows& x, const TensorView& b, double scale, const Rows& y);
  /// Remembers once that memory was short.
  void note_halving(const char* what, std::int64_t from, std::int64_t to, const char* unit);

  const Arithmetic arithmetic_;
  const Element element_;
  ThreadPool& pool_;
  Device device_;
  WeightStore weights_;
  Gemm gemm_;
  DeviceStatistics statistics_;
  DeviceMerges merges_;
  std::vector<std::string> notes_;
};

}  // namespace mg::cuda
