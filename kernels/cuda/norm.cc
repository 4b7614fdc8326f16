#include "kernels/contract/arguments.h"
#include "kernels/cuda/backend.h"

namespace mg::cuda {

void CudaBackend::queue_rms_norm(Rows x, Rows update, const TensorView& weight, RmsNorm norm,
                                 Rows out) {
  const Lease gain = weights_.use(weight);
  norm.weight = gain.stored();
  cuda::rms_norm(x, update, norm, out, element_, device_.compute());
}

void CudaBackend::queue_layer_norm(Rows x, Rows update, const TensorView& weight,
                                   const TensorView& bias, double eps, Rows out) {
  const Lease gain = weights_.use(weight);
  std::optional<Lease> shift;
  if (!bias.empty()) {
    shift.emplace(weights_.use(bias));
  }
  cuda::layer_norm(x, update, gain.stored(), shift ? shift->stored() : Stored{}, eps, out, element_,
                   device_.compute());
}

void CudaBackend::rms_norm(Mat x, const TensorView& weight, double eps, double weight_offset,
                           std::int64_t groups, Mat out) {
  check_rms_norm(x, weight, groups, out);
  queue_rms_norm(rows_of(x), {}, weight, {{}, eps, static_cast<float>(weight_offset), groups},
                 rows_of(out));
}

void CudaBackend::layer_norm(Mat x, const TensorView& weight, const TensorView& bias, double eps,
                             Mat out) {
  check_layer_norm(x, weight, bias, out);
  queue_layer_norm(rows_of(x), {}, weight, bias, eps, rows_of(out));
}

void CudaBackend::add_rms_norm(Mat x, Mat y, const TensorView& weight, double eps,
                               double weight_offset, Mat out) {
  check_same_shape(x, y);
  check_rms_norm(y, weight, 1, out);
  queue_rms_norm(rows_of(y), rows_of(x), weight, {{}, eps, static_cast<float>(weight_offset), 1},
                 rows_of(out));
}

void CudaBackend::add_layer_norm(Mat x, Mat y, const TensorView& weight, const TensorView& bias,
                                 double eps, Mat out) {
  check_same_shape(x, y);
  check_layer_norm(y, weight, bias, out);
  queue_layer_norm(rows_of(y), rows_of(x), weight, bias, eps, rows_of(out));
}

}  // namespace mg::cuda
