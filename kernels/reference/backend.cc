#include "kernels/reference/backend.h"

#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "kernels/core/half.h"

namespace mg::reference {

View view(const Mat& x) {
  auto* buffer = dynamic_cast<HostBuffer*>(x.buffer);
  MG_CHECK(buffer != nullptr, "the matrix lives in this backend's memory");
  MG_CHECK(x.rows == 0 || x.offset + (x.rows - 1) * x.stride + x.cols <= buffer->size(),
           "the matrix lies inside its buffer");
  return {buffer->data() + x.offset, x.rows, x.cols, Eigen::OuterStride<>(x.stride)};
}

double ReferenceBackend::rounded(double value) const {
  switch (arithmetic_) {
    case Arithmetic::kExact:
      return value;
    case Arithmetic::kFp16:
      return static_cast<double>(half_to_float(double_to_half(value)));
    case Arithmetic::kBf16:
      return static_cast<double>(bf16_to_float(double_to_bf16(value)));
  }
  MG_CHECK(false, "an arithmetic mode");
}

Matrix ReferenceBackend::load(const TensorView& tensor) const {
  Matrix values(tensor.dim(0), tensor.dim(1));
  widen_to_double(tensor.dtype, tensor.data, values.size(), values.data());
  return rounded(values);
}

Row ReferenceBackend::load_row(const TensorView& vector) const {
  Row values(vector.elements());
  widen_to_double(vector.dtype, vector.data, values.size(), values.data());
  return rounded(values);
}

}  // namespace mg::reference
