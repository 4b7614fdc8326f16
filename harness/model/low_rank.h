// The product of two thin matrices in double, rows at a time: L [rows, R] times P [R, cols].
// Every element is its own chain of rounded products and sums over the rank in ascending order,
// without FMA, so the bits do not depend on the instruction set, the block or the thread.  Not for:
// wide products (kernels/backend.h). Tested in tests/model/low_rank_test.cc.
#pragma once

#include <cstdint>
#include <vector>

namespace mg {

/// P [rank, cols], packed in panels of eight columns (the last one padded with zeros).
class PackedRight {
 public:
  PackedRight() = default;
  PackedRight(std::int64_t rank, std::int64_t cols);

  std::int64_t rank() const { return rank_; }
  std::int64_t cols() const { return cols_; }
  void set(std::int64_t k, std::int64_t col, double value) { panels_[index(k, col)] = value; }
  double at(std::int64_t k, std::int64_t col) const { return panels_[index(k, col)]; }
  const double* panels() const { return panels_.data(); }
  /// Replaces every element by its magnitude.
  void make_absolute();

  static constexpr std::int64_t kPanel = 8;

 private:
  std::size_t index(std::int64_t k, std::int64_t col) const {
    return static_cast<std::size_t>(((col / kPanel) * rank_ + k) * kPanel + col % kPanel);
  }

  std::int64_t rank_ = 0;
  std::int64_t cols_ = 0;
  std::vector<double> panels_;
};

/// out[i * cols + j] = scale * sum_k left[i * rank + k] * P[k, j].
void multiply_low_rank(const double* left, std::int64_t rows, const PackedRight& right,
                       double scale, double* out);

}  // namespace mg
