#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/reference/backend.h"

namespace mg::reference {

void ReferenceBackend::scale_columns(std::span<const float> factors, Mat y) {
  check_window(y);
  MG_CHECK(static_cast<std::int64_t>(factors.size()) == y.cols, "one factor per column");
  for (std::int64_t c = 0; c < y.cols; ++c) {
    const auto factor = static_cast<double>(factors[static_cast<std::size_t>(c)]);
    view(y).col(c) = rounded(view(y).col(c) * factor).eval();
  }
}

void ReferenceBackend::add_vector(const TensorView& vector, double factor, Mat y) {
  check_window(y);
  check_vector(vector, y.cols);
  const Row addend = rounded(factor * load_row(vector));
  for (std::int64_t r = 0; r < y.rows; ++r) {
    view(y).row(r) = rounded(view(y).row(r) + addend).eval();
  }
}

void ReferenceBackend::add(Mat x, Mat y) {
  check_same_shape(x, y);
  view(y) = rounded(view(y) + view(x)).eval();
}

}  // namespace mg::reference
