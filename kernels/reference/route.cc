#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/contract/arguments.h"
#include "kernels/reference/backend.h"

namespace mg::reference {
namespace {

/// Higher logit first; NaN counts as highest (torch.topk), so that a poisoned row stays visible.
bool better(double x, double y) {
  return std::isnan(x) ? !std::isnan(y) : x > y;
}

}  // namespace

RoutedExperts ReferenceBackend::route_top_k(Mat logits, std::int64_t k, bool normalise) {
  check_route(logits, k);
  RoutedExperts routed;
  for (std::int64_t t = 0; t < logits.rows; ++t) {
    const Row row = view(logits).row(t);
    const Row exps = (row.array() - row.maxCoeff<Eigen::PropagateNaN>()).exp();
    const Row probability = exps / exps.sum();
    std::vector<std::int32_t> order(static_cast<std::size_t>(logits.cols));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int32_t i, std::int32_t j) { return better(row(i), row(j)); });
    order.resize(static_cast<std::size_t>(k));
    double sum = 0;
    for (const std::int32_t e : order) {
      sum += probability(e);
    }
    for (const std::int32_t e : order) {
      routed.expert.push_back(e);
      routed.weight.push_back(
          static_cast<float>(rounded(normalise ? probability(e) / sum : probability(e))));
    }
  }
  return routed;
}

}  // namespace mg::reference
