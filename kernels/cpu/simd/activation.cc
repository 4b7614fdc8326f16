#include "kernels/cpu/simd/isa.h"
#include "kernels/cpu/simd/map.h"
#include "kernels/cpu/simd/math.h"

namespace mg::cpu::MG_ISA {
namespace {

template <Rounding kRounding, typename Body>
void with_activation(Activation kind, const Body& body) {
  switch (kind) {
    case Activation::kSilu:
      return body([](Vec x) { return rounded<kRounding>(activate<Activation::kSilu>(x)); });
    case Activation::kGeluTanh:
      return body([](Vec x) { return rounded<kRounding>(activate<Activation::kGeluTanh>(x)); });
    case Activation::kGeluErf:
      return body([](Vec x) { return rounded<kRounding>(activate<Activation::kGeluErf>(x)); });
    case Activation::kQuickGelu:
      return body([](Vec x) { return rounded<kRounding>(activate<Activation::kQuickGelu>(x)); });
    case Activation::kRelu:
      return body([](Vec x) { return rounded<kRounding>(activate<Activation::kRelu>(x)); });
  }
}

}  // namespace

void activation(Rounding rounding, Activation kind, float* x, std::int64_t n) {
  with_rounding(rounding, [&]<Rounding kRounding>() {
    with_activation<kRounding>(kind, [&](auto f) { map(x, x, n, f); });
  });
}

void gated_activation(Rounding rounding, Activation kind, const float* gate, const float* up,
                      float* out, std::int64_t n) {
  with_rounding(rounding, [&]<Rounding kRounding>() {
    with_activation<kRounding>(kind, [&](auto f) {
      map2(gate, up, out, n, [f](Vec g, Vec u) { return rounded<kRounding>(f(g) * u); });
    });
  });
}

void softcap(Rounding rounding, float cap, float* x, std::int64_t n) {
  const Vec c = broadcast(cap);
  with_rounding(rounding, [&]<Rounding kRounding>() {
    map(x, x, n, [c](Vec v) {
      return rounded<kRounding>(c * rounded<kRounding>(tanh(rounded<kRounding>(v / c))));
    });
  });
}

float exp_row(const float* x, float* out, std::int64_t n) {
  float max = -__builtin_inff();
  for (std::int64_t i = 0; i < n; ++i) {
    max = x[i] > max ? x[i] : max;
  }
  const Vec shift = broadcast(max);
  map(x, out, n, [shift](Vec v) { return exp(v - shift); });
  Lanes total = lanes(0.0F);
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const Lanes v = load_lanes(out + i, n - i, 0.0F);
    for (int p = 0; p < kParts; ++p) {
      total.part[p] = total.part[p] + v.part[p];
    }
  }
  return sum(total);
}

void exp_array(const float* x, float* out, std::int64_t n) {
  map(x, out, n, [](Vec v) { return exp(v); });
}

void tanh_array(const float* x, float* out, std::int64_t n) {
  map(x, out, n, [](Vec v) { return tanh(v); });
}

}  // namespace mg::cpu::MG_ISA
