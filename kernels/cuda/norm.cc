#include "kernels/contract/arguments.h"
#include "kernels/cuda/backend.h"

namespace mg::cuda {

void CudaBackend::rms_norm(Mat x, const TensorView& weight, double eps, double weight_offset,
                           std::int64_t groups, Mat out) {
  check_rms_norm(x, weight, groups, out);
  const Lease gain = weights_.use(weight);
  cuda::rms_norm(rows_of(x),
                 {.weight = gain.stored(),
                  .eps = eps,
                  .weight_offset = static_cast<float>(weight_offset),
                  .groups = groups},
                 rows_of(out), element_, device_.compute());
}

void CudaBackend::layer_norm(Mat x, const TensorView& weight, const TensorView& bias, double eps,
                             Mat out) {
  check_layer_norm(x, weight, bias, out);
  const Lease gain = weights_.use(weight);
  std::optional<Lease> shift;
  if (!bias.empty()) {
    shift.emplace(weights_.use(bias));
  }
  cuda::layer_norm(rows_of(x), gain.stored(), shift ? shift->stored() : Stored{}, eps, rows_of(out),
                   element_, device_.compute());
}

}  // namespace mg::cuda
