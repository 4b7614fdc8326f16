#include <cmath>
#include <numbers>

#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/reference/backend.h"

namespace mg::reference {
namespace {

double activate(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kSilu:
      return x / (1.0 + std::exp(-x));
    case ActivationKind::kGeluTanh: {
      const double inner = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      // x * sigmoid(2 * inner) equals 0.5 * x * (1 + tanh(inner)) without its cancellation.
      return x / (1.0 + std::exp(-2.0 * inner));
    }
    case ActivationKind::kGeluErf:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case ActivationKind::kQuickGelu:
      return x / (1.0 + std::exp(-1.702 * x));
    case ActivationKind::kRelu:
      return x < 0 ? 0.0 : x;  // NaN stays
  }
  MG_CHECK(false, "a known activation");
}

}  // namespace

void ReferenceBackend::gated_activation(ActivationKind kind, Mat gate, Mat up, Mat out) {
  check_same_shape(gate, up);
  check_same_shape(gate, out);
  View target = view(out);
  for (std::int64_t r = 0; r < gate.rows; ++r) {
    for (std::int64_t c = 0; c < gate.cols; ++c) {
      target(r, c) = rounded(rounded(activate(kind, view(gate)(r, c))) * view(up)(r, c));
    }
  }
}

void ReferenceBackend::activation(ActivationKind kind, Mat x) {
  check_window(x);
  view(x) = view(x).unaryExpr([&](double value) { return rounded(activate(kind, value)); }).eval();
}

void ReferenceBackend::softcap(double cap, Mat x) {
  check_window(x);
  MG_CHECK(cap > 0, "the cap is positive");
  view(x) = view(x)
                .unaryExpr([&](double value) {
                  return rounded(cap * rounded(std::tanh(rounded(value / cap))));
                })
                .eval();
}

}  // namespace mg::reference
