#include "kernels/contract/arguments.h"
#include "kernels/cpu/backend.h"

namespace mg::cpu {

void CpuBackend::low_rank(Mat x, const TensorView& a, const TensorView& b, double scale, Mat y) {
  check_low_rank(x, a, b, y);
  const std::int64_t rank = a.dim(0);
  const ScratchPool::Lease scratch = scratch_.borrow(x.rows * rank);
  const Rows down{scratch.data(), rank};
  const Weight to_rank{a, false};
  const Factor first{&to_rank, down};
  product(rows_of(x), x.rows, std::span(&first, 1), [&](const Block& block) {
    for (std::int64_t r = 0; r < block.rows && rounding_ != Rounding::kNone; ++r) {
      kernels_.round(rounding_, block.sums.row(r), block.cols);
    }
  });
  const Rows target = rows_of(y);
  const auto factor = static_cast<float>(scale);
  const Weight from_rank{b, false};
  const Factor second{&from_rank, Rows{}};
  product(down, x.rows, std::span(&second, 1), [&](const Block& block) {
    for (std::int64_t r = 0; r < block.rows; ++r) {
      float* sums = block.sums.row(r);
      if (rounding_ != Rounding::kNone) {
        kernels_.round(rounding_, sums, block.cols);
      }
      kernels_.add_scaled(rounding_, factor, sums, target.row(block.row + r) + block.col,
                          block.cols);
    }
  });
}

}  // namespace mg::cpu
