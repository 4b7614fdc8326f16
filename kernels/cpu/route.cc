#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/contract/arguments.h"
#include "kernels/cpu/backend.h"

namespace mg::cpu {
namespace {

/// Higher logit first; NaN counts as highest (torch.topk), so that a poisoned row stays visible.
bool better(float x, float y) {
  return std::isnan(x) ? !std::isnan(y) : x > y;
}

}  // namespace

RoutedExperts CpuBackend::route_top_k(Mat logits, std::int64_t k, bool normalise) {
  check_route(logits, k);
  const Rows source = rows_of(logits);
  RoutedExperts routed;
  routed.expert.resize(static_cast<std::size_t>(logits.rows * k));
  routed.weight.resize(static_cast<std::size_t>(logits.rows * k));
  for_rows(logits.rows, logits.cols * 8, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> exps(static_cast<std::size_t>(logits.cols));
    std::vector<std::int32_t> order(static_cast<std::size_t>(logits.cols));
    for (std::int64_t t = begin; t < end; ++t) {
      const float* row = source.row(t);
      const float total = kernels_.exp_row(row, exps.data(), logits.cols);
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + k, order.end(),
                        [&](std::int32_t i, std::int32_t j) {
                          return better(row[i], row[j]) || (!better(row[j], row[i]) && i < j);
                        });
      float* weight = routed.weight.data() + t * k;
      float sum = 0;
      for (std::int64_t i = 0; i < k; ++i) {
        const std::int32_t e = order[static_cast<std::size_t>(i)];
        routed.expert[static_cast<std::size_t>(t * k + i)] = e;
        weight[i] = exps[static_cast<std::size_t>(e)] / total;
        sum += weight[i];
      }
      for (std::int64_t i = 0; i < k && normalise; ++i) {
        weight[i] /= sum;
      }
      kernels_.round(rounding_, weight, k);
    }
  });
  return routed;
}

}  // namespace mg::cpu
