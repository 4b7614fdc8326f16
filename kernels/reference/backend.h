// The oracle: every operation in double precision, written as its definition reads.  Slow on
// purpose; the other backends are tested against it (tests/kernels/conformance_test.cc) and
// `--backend reference` runs whole models.
//
// exact: activations are doubles, never rounded.  fp16, bf16: each value is the exact result of its
// operation rounded to that type at the places kernels/contract/README.md names.
#pragma once

#include <Eigen/Dense>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/reference/row_statistics.h"

namespace mg::reference {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Row = Eigen::Matrix<double, 1, Eigen::Dynamic>;
using View = Eigen::Map<Matrix, 0, Eigen::OuterStride<>>;

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(std::int64_t elements) : values_(static_cast<std::size_t>(elements)) {}
  double* data() { return values_.data(); }
  std::int64_t size() const { return static_cast<std::int64_t>(values_.size()); }

 private:
  std::vector<double> values_;
};

/// The elements of `x` as an Eigen matrix.
View view(const Mat& x);

class ReferenceBackend final : public Backend {
 public:
  explicit ReferenceBackend(Arithmetic arithmetic) : arithmetic_(arithmetic) {}

  BackendInfo info() const override { return {"reference", "double", 1}; }
  Arithmetic arithmetic() const override { return arithmetic_; }

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

 private:
  /// `value` as activations of this arithmetic hold it.
  double rounded(double value) const;
  template <typename Derived>
  auto rounded(const Eigen::MatrixBase<Derived>& values) const {
    return values.unaryExpr([this](double value) { return rounded(value); });
  }
  /// A stored matrix or vector (as one row), rounded to the arithmetic as a server casts what it
  /// loads.
  Matrix load(const TensorView& tensor) const;
  Row load_row(const TensorView& vector) const;

  Arithmetic arithmetic_;
  ReferenceStatistics statistics_;
};

}  // namespace mg::reference
