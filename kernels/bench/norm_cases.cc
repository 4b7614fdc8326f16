// Norms over hidden states, and over single heads as Qwen3 and Gemma 3 have them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/bench/rows.h"
#include "kernels/contract/tolerance.h"

namespace mg::bench {
namespace {

using contract::StoredTensor;

std::shared_ptr<const StoredTensor> weights(std::int64_t n, std::uint64_t seed) {
  contract::Random random(seed);
  return std::make_shared<const StoredTensor>(
      contract::random_tensor(random, DType::kF16, {n}, 1.0));
}

OperationCase rms_case(const char* what, std::int64_t rows, std::int64_t width,
                       std::int64_t groups) {
  const std::shared_ptr<const StoredTensor> w = weights(width, 41);
  return row_case(
      {.name = fmt::format("rms_norm/{} {}x{}", what, groups, width),
       .rows = rows,
       .cols = groups * width,
       .flops = 4,
       .bytes = 8,
       .call = [w, groups](Backend& backend, Mat x,
                           Mat y) { backend.rms_norm(x, w->view(), 1e-5, 0, groups, y); },
       .repeats = true,
       .allowed =
           [width](double, double, double expected) {
             return contract::rms_norm(Arithmetic::kExact, width, expected);
           }});
}

OperationCase layer_case(std::int64_t rows, std::int64_t width) {
  const std::shared_ptr<const StoredTensor> w = weights(width, 42);
  const std::shared_ptr<const StoredTensor> b = weights(width, 43);
  // Inputs are standard normal: their deviation is near 1, their size and weights' below 6.
  return row_case({.name = fmt::format("layer_norm/1x{}", width),
                   .rows = rows,
                   .cols = width,
                   .flops = 7,
                   .bytes = 8,
                   .call = [w, b](Backend& backend, Mat x,
                                  Mat y) { backend.layer_norm(x, w->view(), b->view(), 1e-5, y); },
                   .repeats = true,
                   .allowed =
                       [width](double x, double, double expected) {
                         return contract::layer_norm(Arithmetic::kExact, width, expected, 6.0, 1.0,
                                                     std::fabs(x) + 1, 6.0);
                       }});
}

}  // namespace

void add_norm_cases(OperationCases& cases) {
  cases.push_back(rms_case("hidden", 1024, 576, 1));
  cases.push_back(rms_case("hidden", 1024, 4096, 1));
  cases.push_back(rms_case("heads", 1024, 128, 16));
  cases.push_back(layer_case(1024, 768));
}

}  // namespace mg::bench
