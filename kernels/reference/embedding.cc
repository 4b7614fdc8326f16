#include "kernels/contract/arguments.h"
#include "kernels/core/convert.h"
#include "kernels/reference/backend.h"

namespace mg::reference {

void ReferenceBackend::embed(const TensorView& table, std::span<const std::int32_t> ids,
                             double factor, Mat out) {
  check_embed(table, ids, out);
  const auto row_bytes = static_cast<std::size_t>(out.cols * dtype_bits(table.dtype) / 8);
  Row row(out.cols);
  for (std::int64_t t = 0; t < out.rows; ++t) {
    const auto id = static_cast<std::size_t>(ids[static_cast<std::size_t>(t)]);
    widen_to_double(table.dtype, table.data + id * row_bytes, out.cols, row.data());
    view(out).row(t) = rounded(factor * rounded(row));
  }
}

void ReferenceBackend::low_rank_embed(std::span<const std::int32_t> ids, const TensorView& a,
                                      const TensorView& b, double scale, Mat y) {
  check_low_rank_embed(ids, a, b, y);
  const Matrix down = load(a);  // [R, V]
  const Matrix up = load(b);    // [H, R]
  View target = view(y);
  for (std::int64_t t = 0; t < y.rows; ++t) {
    const Row chosen = down.col(ids[static_cast<std::size_t>(t)]).transpose();
    const Row delta = rounded(scale * rounded(chosen * up.transpose()));
    target.row(t) = rounded(target.row(t) + delta).eval();
  }
}

}  // namespace mg::reference
