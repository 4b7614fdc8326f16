#include "kernels/contract/arguments.h"
#include "kernels/reference/backend.h"

namespace mg::reference {

void ReferenceBackend::linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) {
  check_linear(x, weight, bias, out);
  const Matrix w = load(weight.values);
  Matrix product = weight.transposed ? Matrix(view(x) * w) : Matrix(view(x) * w.transpose());
  if (!bias.empty()) {
    product.rowwise() += load_row(bias);
  }
  view(out) = rounded(product);
}

}  // namespace mg::reference
