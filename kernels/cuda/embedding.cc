#include <algorithm>
#include <cstring>

#include "kernels/contract/arguments.h"
#include "kernels/cuda/backend.h"

namespace mg::cuda {
namespace {

constexpr std::size_t kStagedBytes = std::size_t{8} << 20;

}  // namespace

void CudaBackend::embed(const TensorView& table, std::span<const std::int32_t> ids, double factor,
                        Mat out) {
  check_embed(table, ids, out);
  const auto scale = static_cast<float>(factor);
  if (const std::optional<Lease> resident = weights_.resident(table)) {
    const Memory indices = device_.put(ids, "uploading token ids");
    cuda::embed(resident->stored(), indices.as<const std::int32_t>(), scale, rows_of(out), element_,
                device_.compute());
    return;
  }
  // The rows alone, some at a time: a table is most of a gigabyte, a suite's rows are not.
  const auto row_bytes = static_cast<std::size_t>(out.cols * dtype_bits(table.dtype) / 8);
  const std::size_t step =
      std::max<std::size_t>(1, kStagedBytes / std::max<std::size_t>(row_bytes, 1));
  std::vector<std::byte> rows;
  for (std::size_t begin = 0; begin < ids.size(); begin += step) {
    const std::span<const std::int32_t> some =
        ids.subspan(begin, std::min(step, ids.size() - begin));
    rows.resize(some.size() * row_bytes);
    for (std::size_t t = 0; t < some.size(); ++t) {
      const std::byte* from = table.data + static_cast<std::size_t>(some[t]) * row_bytes;
      std::memcpy(rows.data() + t * row_bytes, from, row_bytes);
    }
    const Memory staged = device_.put_bytes(rows, "uploading embeddings");
    const Mat target =
        out.row_range(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(some.size()));
    cuda::embed({staged.data(), table.dtype}, nullptr, scale, rows_of(target), element_,
                device_.compute());
  }
}

void CudaBackend::low_rank_embed(std::span<const std::int32_t> ids, const TensorView& a,
                                 const TensorView& b, double scale, Mat y) {
  check_low_rank_embed(ids, a, b, y);
  const std::int64_t rank = a.dim(0);
  const std::int64_t vocabulary = a.dim(1);
  const auto bytes = static_cast<std::size_t>(dtype_bits(a.dtype) / 8);
  if (ids.empty() || y.cols == 0) {
    return;
  }
  std::vector<std::byte> columns(ids.size() * static_cast<std::size_t>(rank) * bytes);  // A[:, id]
  for (std::size_t t = 0; t < ids.size(); ++t) {
    for (std::int64_t r = 0; r < rank; ++r) {
      const auto from = static_cast<std::size_t>(r * vocabulary + ids[t]) * bytes;
      const std::size_t to = (t * static_cast<std::size_t>(rank) + static_cast<std::size_t>(r));
      std::memcpy(columns.data() + to * bytes, a.data + from, bytes);
    }
  }
  const Memory staged = device_.put_bytes(columns, "uploading an embedding's adapter");
  const Aligned down = scratch(y.rows, rank, "an embedding's adapter");
  convert({staged.data(), a.dtype}, y.rows, rank, down.rows.data, down.rows.stride, element_,
          device_.compute());
  add_product(down.rows, b, scale, rows_of(y));
}

}  // namespace mg::cuda
