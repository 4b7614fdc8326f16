#include "kernels/contract/arguments.h"
#include "kernels/core/convert.h"
#include "kernels/cpu/backend.h"

namespace mg::cpu {

void CpuBackend::embed(const TensorView& table, std::span<const std::int32_t> ids, double factor,
                       Mat out) {
  check_embed(table, ids, out);
  const Rows target = rows_of(out);
  const auto row_bytes = static_cast<std::size_t>(out.cols * dtype_bits(table.dtype) / 8);
  for_rows(out.rows, out.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const auto id = static_cast<std::size_t>(ids[static_cast<std::size_t>(t)]);
      float* row = target.row(t);
      widen_to_float(table.dtype, table.data + id * row_bytes, out.cols, row);
      kernels_.round(rounding_, row, out.cols);
      if (factor != 1.0) {
        kernels_.scale(rounding_, static_cast<float>(factor), row, row, out.cols);
      }
    }
  });
}

void CpuBackend::low_rank_embed(std::span<const std::int32_t> ids, const TensorView& a,
                                const TensorView& b, double scale, Mat y) {
  check_low_rank_embed(ids, a, b, y);
  const Rows target = rows_of(y);
  const std::int64_t rank = a.dim(0);
  const std::int64_t vocabulary = a.dim(1);
  const std::int64_t bytes = dtype_bits(a.dtype) / 8;
  const ScratchPool::Lease up = scratch_.borrow(y.cols * rank);  // B [H, R]
  load_vector({b.dtype, {b.elements()}, b.data, b.bytes}, up.data());
  const std::int64_t gemm_elements = kernels_.gemm_scratch(1);
  for_rows(y.rows, y.cols * rank, [&](std::int64_t begin, std::int64_t end) {
    const ScratchPool::Lease work = scratch_.borrow(gemm_elements + y.cols + rank);
    float* product = work.data() + gemm_elements;
    float* column = product + y.cols;
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t id = ids[static_cast<std::size_t>(t)];
      for (std::int64_t r = 0; r < rank; ++r) {  // A[:, id]
        widen_to_float(a.dtype, a.data + (r * vocabulary + id) * bytes, 1, column + r);
      }
      kernels_.round(rounding_, column, rank);
      const GemmPiece piece{.w = reinterpret_cast<const std::byte*>(up.data()),
                            .w_stride = rank * 4,
                            .kind = WeightKind::kF32,
                            .transposed = false,
                            .cols = y.cols,
                            .out = product,
                            .out_stride = y.cols};
      kernels_.gemm({.x = column,
                     .x_stride = rank,
                     .rows = 1,
                     .k = rank,
                     .pieces = &piece,
                     .count = 1,
                     .scratch = work.data()});
      kernels_.round(rounding_, product, y.cols);
      kernels_.add_scaled(rounding_, static_cast<float>(scale), product, target.row(t), y.cols);
    }
  });
}

}  // namespace mg::cpu
