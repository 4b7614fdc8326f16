#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/cpu/backend.h"

namespace mg::cpu {
namespace {

Activation kernel_kind(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kSilu:
      return Activation::kSilu;
    case ActivationKind::kGeluTanh:
      return Activation::kGeluTanh;
    case ActivationKind::kGeluErf:
      return Activation::kGeluErf;
    case ActivationKind::kQuickGelu:
      return Activation::kQuickGelu;
    case ActivationKind::kRelu:
      return Activation::kRelu;
  }
  MG_CHECK(false, "a known activation");
}

}  // namespace

void CpuBackend::gated_activation(ActivationKind kind, Mat gate, Mat up, Mat out) {
  check_same_shape(gate, up);
  check_same_shape(gate, out);
  const Activation activation = kernel_kind(kind);
  const Rows g = rows_of(gate);
  const Rows u = rows_of(up);
  const Rows target = rows_of(out);
  for_rows(gate.rows, gate.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels_.gated_activation(rounding_, activation, g.row(r), u.row(r), target.row(r),
                                gate.cols);
    }
  });
}

void CpuBackend::activation(ActivationKind kind, Mat x) {
  check_window(x);
  const Activation activation = kernel_kind(kind);
  const Rows target = rows_of(x);
  for_rows(x.rows, x.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels_.activation(rounding_, activation, target.row(r), x.cols);
    }
  });
}

void CpuBackend::softcap(double cap, Mat x) {
  check_window(x);
  MG_CHECK(cap > 0, "the cap is positive");
  const Rows target = rows_of(x);
  for_rows(x.rows, x.cols, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels_.softcap(rounding_, static_cast<float>(cap), target.row(r), x.cols);
    }
  });
}

}  // namespace mg::cpu
