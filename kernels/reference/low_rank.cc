#include "kernels/contract/arguments.h"
#include "kernels/reference/backend.h"

namespace mg::reference {

void ReferenceBackend::low_rank(Mat x, const TensorView& a, const TensorView& b, double scale,
                                Mat y) {
  check_low_rank(x, a, b, y);
  const Matrix down = rounded(Matrix(view(x) * load(a).transpose()));
  const Matrix up = rounded(Matrix(down * load(b).transpose()));
  view(y) = rounded(view(y) + rounded(scale * up)).eval();
}

}  // namespace mg::reference
