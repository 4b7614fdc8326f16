#include "kernels/contract/arguments.h"
#include "kernels/cpu/backend.h"

namespace mg::cpu {

void CpuBackend::rms_norm(Mat x, const TensorView& weight, double eps, double weight_offset,
                          std::int64_t groups, Mat out) {
  check_rms_norm(x, weight, groups, out);
  const Rows source = rows_of(x);
  const Rows target = rows_of(out);
  const std::int64_t width = x.cols / groups;
  const ScratchPool::Lease gain = scratch_.borrow(width);
  load_vector(weight, gain.data());
  for (std::int64_t i = 0; i < width && weight_offset != 0; ++i) {
    gain.data()[i] += static_cast<float>(weight_offset);
  }
  // Llama's order rounds the normalised row before the weight, Gemma's does not
  // (kernels/contract/README.md).
  const bool round_normal = weight_offset == 0;
  for_rows(x.rows, x.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < x.cols; c += width) {
        kernels_.rms_norm(rounding_, round_normal, source.row(r) + c, gain.data(), eps,
                          target.row(r) + c, width);
      }
    }
  });
}

void CpuBackend::layer_norm(Mat x, const TensorView& weight, const TensorView& bias, double eps,
                            Mat out) {
  check_layer_norm(x, weight, bias, out);
  const Rows source = rows_of(x);
  const Rows target = rows_of(out);
  const ScratchPool::Lease gain = scratch_.borrow(x.cols);
  const ScratchPool::Lease shift = scratch_.borrow(x.cols);
  load_vector(weight, gain.data());
  if (!bias.empty()) {
    load_vector(bias, shift.data());
  }
  for_rows(x.rows, x.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels_.layer_norm(rounding_, source.row(r), gain.data(),
                          bias.empty() ? nullptr : shift.data(), eps, target.row(r), x.cols);
    }
  });
}

}  // namespace mg::cpu
