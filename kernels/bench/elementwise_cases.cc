// Residual sums, DoRA's factors, activations, soft-caps, the router.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/bench/rows.h"
#include "kernels/contract/tolerance.h"

namespace mg::bench {
namespace {

using contract::StoredTensor;

double sum_allowed(double x, double y, double) {
  return contract::elementwise(Arithmetic::kExact, 2, std::fabs(x) + std::fabs(y));
}

void add_sums(OperationCases& cases, std::int64_t rows, std::int64_t cols) {
  cases.push_back(row_case({.name = fmt::format("add/{}", cols),
                            .rows = rows,
                            .cols = cols,
                            .flops = 1,
                            .bytes = 12,
                            .call = [](Backend& backend, Mat x, Mat y) { backend.add(x, y); },
                            .repeats = true,
                            .allowed = sum_allowed}));
  contract::Random random(51);
  auto vector = std::make_shared<const StoredTensor>(
      contract::random_tensor(random, DType::kF16, {cols}, 1.0));
  cases.push_back(row_case(
      {.name = fmt::format("add_vector/{}", cols),
       .rows = rows,
       .cols = cols,
       .flops = 1,
       .bytes = 8,
       .call = [vector](Backend& backend, Mat,
                        Mat y) { backend.add_vector(vector->view(), 0.5, y); },
       .repeats = true,
       // a standard normal of twelve uniforms is below 6
       .allowed = [](double, double y, double expected) { return sum_allowed(3, y, expected); }}));
  std::vector<float> factors(static_cast<std::size_t>(cols));
  std::generate(factors.begin(), factors.end(),
                [&random] { return random.below(2) == 0 ? 1.0F : -1.0F; });
  factors.front() = 0.5F;  // so that a product that is left out shows
  cases.push_back(row_case(
      {.name = fmt::format("scale_columns/{}", cols),
       .rows = rows,
       .cols = cols,
       .flops = 1,
       .bytes = 8,
       .call = [factors](Backend& backend, Mat, Mat y) { backend.scale_columns(factors, y); },
       .repeats = false,
       .allowed =
           [](double, double, double expected) {
             return contract::elementwise(Arithmetic::kExact, 1, std::fabs(expected));
           }}));
}

void add_activations(OperationCases& cases, std::int64_t rows, std::int64_t cols) {
  struct Kind {
    ActivationKind kind;
    const char* name;
  };
  // |x f'(x)| <= 1.2 |x| for each of them, |f(x)| <= |x|
  for (const Kind& k :
       {Kind{ActivationKind::kSilu, "silu"}, Kind{ActivationKind::kGeluTanh, "gelu_tanh"},
        Kind{ActivationKind::kGeluErf, "gelu_erf"}, Kind{ActivationKind::kQuickGelu, "quick_gelu"},
        Kind{ActivationKind::kRelu, "relu"}}) {
    cases.push_back(row_case(
        {.name = fmt::format("activation/{} {}", k.name, cols),
         .rows = rows,
         .cols = cols,
         .flops = 4,
         .bytes = 8,
         .call = [k](Backend& backend, Mat, Mat y) { backend.activation(k.kind, y); },
         .repeats = false,
         .allowed =
             [](double, double y, double expected) {
               return contract::activation(Arithmetic::kExact, expected, 1.2 * std::fabs(y));
             }}));
    // out is a third matrix in layers (up's); here y serves as up and out.
    cases.push_back(row_case(
        {.name = fmt::format("gated_activation/{} {}", k.name, cols),
         .rows = rows,
         .cols = cols,
         .flops = 5,
         .bytes = 12,
         .call = [k](Backend& backend, Mat x, Mat y) { backend.gated_activation(k.kind, x, y, y); },
         .repeats = false,
         .allowed =
             [](double x, double y, double) {
               return contract::gated_activation(Arithmetic::kExact, std::fabs(x),
                                                 1.2 * std::fabs(x), y);
             }}));
  }
  cases.push_back(row_case({.name = fmt::format("softcap/{}", cols),
                            .rows = rows,
                            .cols = cols,
                            .flops = 5,
                            .bytes = 8,
                            .call = [](Backend& backend, Mat, Mat y) { backend.softcap(30.0, y); },
                            .repeats = false,
                            .allowed =
                                [](double, double, double expected) {
                                  return contract::elementwise(Arithmetic::kExact, 4,
                                                               std::fabs(expected));
                                }}));
}

OperationCase route_case(std::int64_t rows, std::int64_t experts, std::int64_t k) {
  OperationCase c;
  c.name = fmt::format("route_top_k/E{} k{}/T:{}", experts, k, rows);
  c.flops = 2.0 * static_cast<double>(rows * experts);
  c.bytes = 4.0 * static_cast<double>(rows * (experts + 2 * k));
  c.cols = 2 * k;  // experts, then their weights
  c.place = [=](Backend& backend, std::int64_t) {
    contract::Random random(52);
    auto memory = std::make_shared<Memory>(backend);
    const Mat logits = memory->put(random.normals(rows * experts, 2.0), rows, experts);
    auto routed = std::make_shared<RoutedExperts>();
    return Placed{{},
                  [&backend, logits, k, routed] { *routed = backend.route_top_k(logits, k, true); },
                  [memory, routed, k, rows] {
                    std::vector<float> result;
                    for (std::int64_t i = 0; i < rows * k; ++i) {
                      const auto at = static_cast<std::size_t>(i);
                      result.push_back(static_cast<float>(routed->expert[at]));
                      result.push_back(routed->weight[at]);
                    }
                    return result;
                  }};
  };
  c.allowed = [experts](std::size_t i, double expected) {
    const bool is_expert = i % 2 == 0;
    return is_expert ? 0.0 : contract::routing_weight(Arithmetic::kExact, experts, expected, 12.0);
  };
  return c;
}

}  // namespace

void add_elementwise_cases(OperationCases& cases) {
  add_sums(cases, 1024, 576);
  add_activations(cases, 1024, 1536);
  cases.push_back(route_case(1024, 128, 8));
}

}  // namespace mg::bench
