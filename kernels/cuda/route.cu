#include "kernels/cuda/math.cuh"
#include "kernels/cuda/reduce.cuh"

namespace mg::cuda {
namespace {

constexpr unsigned kRowsPerBlock = 4;  // a warp each

/// A candidate expert of one lane.
struct Candidate {
  float logit;
  std::int32_t index;  // -1: none left
};

/// Higher logit first, NaN above all (torch.topk), then the lower index.
__device__ __forceinline__ bool better(const Candidate& x, const Candidate& y) {
  if (x.index < 0 || y.index < 0) {
    return x.index >= 0;
  }
  const bool x_nan = x.logit != x.logit;
  const bool y_nan = y.logit != y.logit;
  if (x_nan != y_nan) {
    return x_nan;
  }
  if (!x_nan && x.logit != y.logit) {
    return x.logit > y.logit;
  }
  return x.index < y.index;
}

/// The best of a warp's candidates, in every lane.
__device__ __forceinline__ Candidate best_of_warp(Candidate own) {
#pragma unroll
  for (unsigned bit = kWarp / 2; bit > 0; bit /= 2) {
    const Candidate other{__shfl_xor_sync(kAllLanes, own.logit, bit),
                          __shfl_xor_sync(kAllLanes, own.index, bit)};
    own = better(other, own) ? other : own;
  }
  return own;
}

/// The best expert after `last` in the order of better(); any expert where last.index is -1.
template <typename T>
__device__ __forceinline__ Candidate next_best(const T* logits, std::int64_t experts,
                                               const Candidate& last) {
  Candidate own{0.0F, -1};
  for (std::int64_t e = threadIdx.x; e < experts; e += kWarp) {
    const Candidate candidate{widen(logits[e]), static_cast<std::int32_t>(e)};
    const bool left = last.index < 0 || better(last, candidate);
    own = left && better(candidate, own) ? candidate : own;
  }
  return best_of_warp(own);
}

template <typename T>
__global__ void __launch_bounds__(kWarp* kRowsPerBlock)
    route_kernel(Rows logits, std::int64_t k, bool normalise, std::int32_t* expert, float* weight) {
  const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.y;
  if (t >= logits.rows) {
    return;  // the whole warp: nobody waits for it
  }
  const T* row = row_of<T>(logits, t);
  float max = -INFINITY;  // of what is a number: a NaN is in the sum below
  for (std::int64_t e = threadIdx.x; e < logits.cols; e += kWarp) {
    const float logit = widen(row[e]);
    max = logit > max ? logit : max;
  }
#pragma unroll
  for (unsigned bit = kWarp / 2; bit > 0; bit /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, max, bit);
    max = other > max ? other : max;
  }
  float total = 0.0F;
  for (std::int64_t e = threadIdx.x; e < logits.cols; e += kWarp) {
    total += exp_of(widen(row[e]) - max);
  }
  total = warp_sum(total);
  Candidate last{0.0F, -1};
  float chosen = 0.0F;
  for (std::int64_t i = 0; i < k; ++i) {
    last = next_best(row, logits.cols, last);
    const float probability = exp_of(last.logit - max) / total;
    chosen += probability;
    if (threadIdx.x == 0) {
      expert[t * k + i] = last.index;
      weight[t * k + i] = normalise ? probability : rounded<T>(probability);
    }
  }
  if (normalise && threadIdx.x == 0) {
    for (std::int64_t i = 0; i < k; ++i) {
      weight[t * k + i] = rounded<T>(weight[t * k + i] / chosen);
    }
  }
}

}  // namespace

void route_top_k(Rows logits, std::int64_t k, bool normalise, std::int32_t* expert, float* weight,
                 Element element, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((logits.rows + kRowsPerBlock - 1) / kRowsPerBlock);
  with_element(element, [&]<typename T>(T) {
    launch("route_top_k", {dim3(blocks), dim3(kWarp, kRowsPerBlock), 0}, stream, route_kernel<T>,
           logits, k, normalise, expert, weight);
  });
}

}  // namespace mg::cuda
