#include <cmath>

#include "kernels/contract/arguments.h"
#include "kernels/reference/backend.h"

namespace mg::reference {

void ReferenceBackend::rms_norm(Mat x, const TensorView& weight, double eps, double weight_offset,
                                std::int64_t groups, Mat out) {
  check_rms_norm(x, weight, groups, out);
  const std::int64_t width = x.cols / groups;
  const Row gain = load_row(weight).array() + weight_offset;
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const Row row = view(x).block(r, g * width, 1, width);
      const double mean_square = row.squaredNorm() / static_cast<double>(width);
      Row normal = row / std::sqrt(mean_square + eps);
      if (weight_offset == 0) {
        normal = rounded(normal).eval();  // Llama's order; Gemma's multiplies first (contract)
      }
      view(out).block(r, g * width, 1, width) = rounded(normal.cwiseProduct(gain));
    }
  }
}

void ReferenceBackend::layer_norm(Mat x, const TensorView& weight, const TensorView& bias,
                                  double eps, Mat out) {
  check_layer_norm(x, weight, bias, out);
  const Row gain = load_row(weight);
  const Row shift = bias.empty() ? Row::Zero(x.cols) : load_row(bias);
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const Row row = view(x).row(r);
    const Row centred = row.array() - row.mean();
    const double variance = centred.squaredNorm() / static_cast<double>(x.cols);
    const Row normal = centred / std::sqrt(variance + eps);
    view(out).row(r) = rounded(normal.cwiseProduct(gain) + shift);
  }
}

}  // namespace mg::reference
