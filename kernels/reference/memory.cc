#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/reference/backend.h"

namespace mg::reference {

std::unique_ptr<Buffer> ReferenceBackend::allocate(std::int64_t elements) {
  MG_CHECK(elements >= 0, "a buffer's size is not negative");
  return std::make_unique<HostBuffer>(elements);
}

void ReferenceBackend::upload(std::span<const float> values, Mat out) {
  check_upload(values, out);
  View target = view(out);
  for (std::int64_t r = 0; r < out.rows; ++r) {
    for (std::int64_t c = 0; c < out.cols; ++c) {
      const float value = values[static_cast<std::size_t>(r * out.cols + c)];
      target(r, c) = rounded(static_cast<double>(value));
    }
  }
}

std::span<const float> ReferenceBackend::read(Mat x, std::vector<float>& staging) {
  check_window(x);
  const View source = view(x);
  staging.resize(static_cast<std::size_t>(x.rows * x.cols));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (std::int64_t c = 0; c < x.cols; ++c) {
      staging[static_cast<std::size_t>(r * x.cols + c)] = static_cast<float>(source(r, c));
    }
  }
  return staging;
}

void ReferenceBackend::copy(Mat x, Mat out) {
  check_same_shape(x, out);
  view(out) = view(x);
}

void ReferenceBackend::gather_rows(Mat x, std::span<const std::int32_t> rows, Mat out) {
  check_gather(x, rows, out);
  for (std::int64_t i = 0; i < out.rows; ++i) {
    view(out).row(i) = view(x).row(rows[static_cast<std::size_t>(i)]);
  }
}

void ReferenceBackend::scatter_add_rows(Mat x, std::span<const std::int32_t> rows,
                                        std::span<const float> factors, Mat out) {
  check_scatter(x, rows, factors, out);
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const auto factor = static_cast<double>(factors[static_cast<std::size_t>(i)]);
    auto target = view(out).row(rows[static_cast<std::size_t>(i)]);
    target = rounded(target + rounded(factor * view(x).row(i))).eval();
  }
}

void ReferenceBackend::fill_zero(Mat out) {
  check_window(out);
  view(out).setZero();
}

}  // namespace mg::reference
