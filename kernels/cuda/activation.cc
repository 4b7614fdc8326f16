#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/cuda/backend.h"

namespace mg::cuda {

void CudaBackend::gated_activation(ActivationKind kind, Mat gate, Mat up, Mat out) {
  check_same_shape(gate, up);
  check_same_shape(gate, out);
  cuda::gated_activation(kind, rows_of(gate), rows_of(up), rows_of(out), element_,
                         device_.compute());
}

void CudaBackend::activation(ActivationKind kind, Mat x) {
  check_window(x);
  cuda::activation(kind, rows_of(x), element_, device_.compute());
}

void CudaBackend::softcap(double cap, Mat x) {
  check_window(x);
  MG_CHECK(cap > 0, "the cap is positive");
  cuda::softcap(static_cast<float>(cap), rows_of(x), element_, device_.compute());
}

}  // namespace mg::cuda
