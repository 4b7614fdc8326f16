#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/cpu/backend.h"

namespace mg::cpu {

void CpuBackend::scale_columns(std::span<const float> factors, Mat y) {
  check_window(y);
  MG_CHECK(static_cast<std::int64_t>(factors.size()) == y.cols, "one factor per column");
  const Rows target = rows_of(y);
  for_rows(y.rows, y.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels_.multiply(rounding_, factors.data(), target.row(r), y.cols);
    }
  });
}

void CpuBackend::add_vector(const TensorView& vector, double factor, Mat y) {
  check_window(y);
  check_vector(vector, y.cols);
  const Rows target = rows_of(y);
  const ScratchPool::Lease addend = scratch_.borrow(y.cols);
  load_vector(vector, addend.data());
  kernels_.scale(rounding_, static_cast<float>(factor), addend.data(), addend.data(), y.cols);
  for_rows(y.rows, y.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels_.add(rounding_, addend.data(), target.row(r), y.cols);
    }
  });
}

void CpuBackend::add(Mat x, Mat y) {
  check_same_shape(x, y);
  const Rows source = rows_of(x);
  const Rows target = rows_of(y);
  for_rows(y.rows, y.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels_.add(rounding_, source.row(r), target.row(r), y.cols);
    }
  });
}

}  // namespace mg::cpu
