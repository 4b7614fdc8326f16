#include "kernels/contract/arguments.h"
#include "kernels/reference/backend.h"

namespace mg::reference {

void ReferenceBackend::rope(Mat cos, Mat sin, std::int64_t heads, std::int64_t rotary_dim, Mat x) {
  check_rope(cos, sin, heads, rotary_dim, x);
  const std::int64_t half = rotary_dim / 2;
  const std::int64_t head_dim = x.cols / heads;
  View target = view(x);
  for (std::int64_t t = 0; t < x.rows; ++t) {
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t i = 0; i < half; ++i) {
        double& first = target(t, h * head_dim + i);
        double& second = target(t, h * head_dim + half + i);
        const double c = view(cos)(t, i);
        const double s = view(sin)(t, i);
        const double turned = rounded(rounded(first * c) - rounded(second * s));
        second = rounded(rounded(second * c) + rounded(first * s));
        first = turned;
      }
    }
  }
}

}  // namespace mg::reference
