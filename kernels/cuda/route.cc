#include <cstring>

#include "kernels/contract/arguments.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/check.h"

namespace mg::cuda {

RoutedExperts CudaBackend::route_top_k(Mat logits, std::int64_t k, bool normalise) {
  check_route(logits, k);
  RoutedExperts routed;
  const auto n = static_cast<std::size_t>(logits.rows * k);
  routed.expert.resize(n);
  routed.weight.resize(n);
  if (n == 0) {
    return routed;
  }
  const std::size_t bytes = n * sizeof(float);  // of each half
  const Memory chosen = device_.allocate(2 * bytes, "routing");
  auto* expert = chosen.as<std::int32_t>();
  cuda::route_top_k(rows_of(logits), k, normalise, expert, chosen.as<float>() + n, element_,
                    device_.compute());
  Pinned arrived = device_.pinned(2 * bytes);
  check(cudaMemcpyAsync(arrived.data(), chosen.data(), 2 * bytes, cudaMemcpyDeviceToHost,
                        device_.compute()),
        "reading the routing", 2 * bytes, "bytes");
  arrived.last_copy().record(device_.compute());
  arrived.last_copy().wait();
  std::memcpy(routed.expert.data(), arrived.data(), bytes);
  std::memcpy(routed.weight.data(), arrived.data() + bytes, bytes);
  device_.keep(std::move(arrived));
  return routed;
}

}  // namespace mg::cuda
