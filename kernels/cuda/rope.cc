#include "kernels/contract/arguments.h"
#include "kernels/cuda/backend.h"

namespace mg::cuda {

void CudaBackend::rope(Mat cos, Mat sin, std::int64_t heads, std::int64_t rotary_dim, Mat x) {
  check_rope(cos, sin, heads, rotary_dim, x);
  cuda::rope(rows_of(cos), rows_of(sin), heads, rotary_dim, rows_of(x), element_,
             device_.compute());
}

}  // namespace mg::cuda
