#include <algorithm>
#include <cstring>

#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/cpu/backend.h"

namespace mg::cpu {
namespace {

void copy_row(const float* from, float* to, std::int64_t n) {
  std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
}

}  // namespace

std::unique_ptr<Buffer> CpuBackend::allocate(std::int64_t elements) {
  MG_CHECK(elements >= 0, "a buffer's size is not negative");
  return std::make_unique<FloatBuffer>(elements);
}

void CpuBackend::upload(std::span<const float> values, Mat out) {
  check_upload(values, out);
  const Rows target = rows_of(out);
  for_rows(out.rows, out.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      copy_row(values.data() + r * out.cols, target.row(r), out.cols);
      kernels_.round(rounding_, target.row(r), out.cols);
    }
  });
}

std::span<const float> CpuBackend::read(Mat x, std::vector<float>& staging) {
  check_window(x);
  const Rows source = rows_of(x);
  const auto size = static_cast<std::size_t>(x.rows * x.cols);
  if (x.rows <= 1 || x.stride == x.cols) {
    return {source.data, size};
  }
  staging.resize(size);
  for_rows(x.rows, x.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      copy_row(source.row(r), staging.data() + r * x.cols, x.cols);
    }
  });
  return staging;
}

void CpuBackend::copy(Mat x, Mat out) {
  check_same_shape(x, out);
  const Rows source = rows_of(x);
  const Rows target = rows_of(out);
  for_rows(x.rows, x.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      copy_row(source.row(r), target.row(r), x.cols);
    }
  });
}

void CpuBackend::gather_rows(Mat x, std::span<const std::int32_t> rows, Mat out) {
  check_gather(x, rows, out);
  const Rows source = rows_of(x);
  const Rows target = rows_of(out);
  for_rows(out.rows, out.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      copy_row(source.row(rows[static_cast<std::size_t>(r)]), target.row(r), out.cols);
    }
  });
}

void CpuBackend::scatter_add_rows(Mat x, std::span<const std::int32_t> rows,
                                  std::span<const float> factors, Mat out) {
  check_scatter(x, rows, factors, out);
  const Rows source = rows_of(x);
  const Rows target = rows_of(out);
  for_rows(x.rows, x.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const auto i = static_cast<std::size_t>(r);
      kernels_.add_scaled(rounding_, factors[i], source.row(r), target.row(rows[i]), x.cols);
    }
  });
}

void CpuBackend::fill_zero(Mat out) {
  check_window(out);
  const Rows target = rows_of(out);
  for_rows(out.rows, out.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      std::fill_n(target.row(r), out.cols, 0.0F);
    }
  });
}

}  // namespace mg::cpu
