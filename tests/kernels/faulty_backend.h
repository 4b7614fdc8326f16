// A backend that passes every call on to a right one, as a base for backends with one planted fault
// each.
#pragma once

#include <memory>
#include <vector>

#include "kernels/backend.h"

namespace mg {

class PassingBackend : public Backend {
 public:
  explicit PassingBackend(Backend& right) : right_(right) {}

  BackendInfo info() const override { return right_.info(); }
  Arithmetic arithmetic() const override { return right_.arithmetic(); }
  std::unique_ptr<Buffer> allocate(std::int64_t elements) override {
    return right_.allocate(elements);
  }
  void upload(std::span<const float> values, Mat out) override { right_.upload(values, out); }
  std::span<const float> read(Mat x, std::vector<float>& staging) override {
    return right_.read(x, staging);
  }
  void copy(Mat x, Mat out) override { right_.copy(x, out); }
  void gather_rows(Mat x, std::span<const std::int32_t> rows, Mat out) override {
    right_.gather_rows(x, rows, out);
  }
  void scatter_add_rows(Mat x, std::span<const std::int32_t> rows, std::span<const float> factors,
                        Mat out) override {
    right_.scatter_add_rows(x, rows, factors, out);
  }
  void fill_zero(Mat out) override { right_.fill_zero(out); }
  void embed(const TensorView& table, std::span<const std::int32_t> ids, double factor,
             Mat out) override {
    right_.embed(table, ids, factor, out);
  }
  void low_rank_embed(std::span<const std::int32_t> ids, const TensorView& a, const TensorView& b,
                      double scale, Mat y) override {
    right_.low_rank_embed(ids, a, b, scale, y);
  }
  void rms_norm(Mat x, const TensorView& weight, double eps, double weight_offset,
                std::int64_t groups, Mat out) override {
    right_.rms_norm(x, weight, eps, weight_offset, groups, out);
  }
  void layer_norm(Mat x, const TensorView& weight, const TensorView& bias, double eps,
                  Mat out) override {
    right_.layer_norm(x, weight, bias, eps, out);
  }
  void linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) override {
    right_.linear(x, weight, bias, out);
  }
  void low_rank(Mat x, const TensorView& a, const TensorView& b, double scale, Mat y) override {
    right_.low_rank(x, a, b, scale, y);
  }
  void scale_columns(std::span<const float> factors, Mat y) override {
    right_.scale_columns(factors, y);
  }
  void add_vector(const TensorView& vector, double factor, Mat y) override {
    right_.add_vector(vector, factor, y);
  }
  void rope(Mat cos, Mat sin, std::int64_t heads, std::int64_t rotary_dim, Mat x) override {
    right_.rope(cos, sin, heads, rotary_dim, x);
  }
  void attention(Mat q, Mat k, Mat v, std::span<const AttentionSegment> segments,
                 const AttentionParams& params, Mat out) override {
    right_.attention(q, k, v, segments, params, out);
  }
  void add(Mat x, Mat y) override { right_.add(x, y); }
  void gated_activation(ActivationKind kind, Mat gate, Mat up, Mat out) override {
    right_.gated_activation(kind, gate, up, out);
  }
  void activation(ActivationKind kind, Mat x) override { right_.activation(kind, x); }
  void softcap(double cap, Mat x) override { right_.softcap(cap, x); }
  RoutedExperts route_top_k(Mat logits, std::int64_t k, bool normalise) override {
    return right_.route_top_k(logits, k, normalise);
  }
  RowStatistics* row_statistics() override { return right_.row_statistics(); }

 protected:
  Backend& right_;
};

}  // namespace mg
