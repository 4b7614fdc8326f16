#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/cuda/backend.h"

namespace mg::cuda {

void CudaBackend::scale_columns(std::span<const float> factors, Mat y) {
  check_window(y);
  MG_CHECK(static_cast<std::int64_t>(factors.size()) == y.cols, "one factor per column");
  const Memory staged = device_.put(factors, "uploading factors");
  cuda::scale_columns(staged.as<const float>(), rows_of(y), element_, device_.compute());
}

void CudaBackend::add_vector(const TensorView& vector, double factor, Mat y) {
  check_window(y);
  check_vector(vector, y.cols);
  const Lease addend = weights_.use(vector);
  cuda::add_vector(addend.stored(), static_cast<float>(factor), rows_of(y), element_,
                   device_.compute());
}

void CudaBackend::add(Mat x, Mat y) {
  check_same_shape(x, y);
  cuda::add(rows_of(x), rows_of(y), element_, device_.compute());
}

}  // namespace mg::cuda
