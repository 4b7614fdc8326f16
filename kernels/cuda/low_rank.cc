#include <algorithm>

#include "kernels/contract/arguments.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/check.h"

namespace mg::cuda {
namespace {

// The product with B before it is added: this much of it at a time.
constexpr std::int64_t kProductElements = std::int64_t{1} << 26;

}  // namespace

void CudaBackend::add_product(const Rows& x, const TensorView& b, double scale, const Rows& y) {
  const Weight up{b, false};
  const std::int64_t wanted = std::min(
      y.rows, std::max(kMinStableRows, kProductElements / std::max<std::int64_t>(y.cols, 1)));
  std::int64_t step = wanted;
  Aligned sums = try_scratch(step, y.cols);
  while (sums.memory.empty() && step >= 2 * kMinStableRows) {
    step /= 2;
    sums = try_scratch(step, y.cols);
  }
  if (sums.memory.empty()) {
    fail(cudaErrorMemoryAllocation, "a low-rank product", bytes_of(step * y.cols), "bytes");
  }
  if (step < wanted) {
    note_halving("a low-rank product", wanted, step, "rows");
  }
  for (std::int64_t begin = 0; begin < y.rows;) {
    std::int64_t count = std::min(step, y.rows - begin);
    // What is left must not fall below the rows from which bits are stable.
    if (const std::int64_t left = y.rows - begin - count;
        left > 0 && left < kMinStableRows && count >= 2 * kMinStableRows) {
      count -= kMinStableRows;
    }
    const Rows out = part_of(sums.rows, 0, count, element_);
    product(part_of(x, begin, count, element_), up, nullptr, out);
    add_scaled(out, static_cast<float>(scale), part_of(y, begin, count, element_), element_,
               device_.compute());
    begin += count;
  }
}

void CudaBackend::low_rank(Mat x, const TensorView& a, const TensorView& b, double scale, Mat y) {
  check_low_rank(x, a, b, y);
  if (y.rows == 0 || y.cols == 0 || x.cols == 0 || a.dim(0) == 0) {
    return;
  }
  const Aligned in = aligned_copy(rows_of(x));
  const Aligned down = scratch(x.rows, a.dim(0), "a low-rank product");
  product(in.rows, {a, false}, nullptr, down.rows);
  add_product(down.rows, b, scale, rows_of(y));
}

}  // namespace mg::cuda
