#include "kernels/contract/arguments.h"
#include "kernels/cpu/backend.h"

namespace mg::cpu {

void CpuBackend::rope(Mat cos, Mat sin, std::int64_t heads, std::int64_t rotary_dim, Mat x) {
  check_rope(cos, sin, heads, rotary_dim, x);
  const Rows cosines = rows_of(cos);
  const Rows sines = rows_of(sin);
  const Rows target = rows_of(x);
  const std::int64_t head_dim = x.cols / heads;
  const std::int64_t half = rotary_dim / 2;
  for_rows(x.rows, x.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t h = 0; h < heads; ++h) {
        float* first = target.row(t) + h * head_dim;
        kernels_.rotate(rounding_, cosines.row(t), sines.row(t), first, first + half, half);
      }
    }
  });
}

}  // namespace mg::cpu
