#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/scalar.cuh"

namespace mg::cuda {
namespace {

// A vector is one warp's work up to this width, beyond it a block's.
constexpr std::int64_t kWidthOfWarp = 1024;
constexpr unsigned kThreads = 256;

Shape3 norm_shape(std::int64_t vectors, std::int64_t width) {
  const bool by_warp = width <= kWidthOfWarp;
  const std::int64_t per_block = by_warp ? kThreads / kWarp : 1;
  return {dim3(static_cast<unsigned>((vectors + per_block - 1) / per_block)),
          by_warp ? dim3(kWarp, kThreads / kWarp) : dim3(kThreads), 0};
}

__device__ __forceinline__ float inverse_root(float mean_square, double eps) {
  return static_cast<float>(1.0 / sqrt(static_cast<double>(mean_square) + eps));
}

/// The vector of this thread; those past the end take part in the sums and write nothing.
__device__ __forceinline__ std::int64_t own_vector() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
}

/// Element i, once the residual has been added and stored where there is one.  A thread takes each
/// of its elements once before it reads them again, and nobody else's: no barrier is needed.
template <typename T>
__device__ __forceinline__ float take(T* x, const T* update, std::int64_t i) {
  if (update != nullptr) {
    narrow(widen(x[i]) + widen(update[i]), x[i]);
  }
  return widen(x[i]);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(Rows x, Rows update, RmsNorm norm, std::int64_t width, Rows out) {
  const std::int64_t vector = own_vector();
  const bool live = vector < x.rows * norm.groups;
  const std::int64_t row = live ? vector / norm.groups : 0;
  const std::int64_t begin = live ? vector % norm.groups * width : 0;
  T* from = row_of<T>(x, row) + begin;
  const T* more = update.data == nullptr ? nullptr : row_of<T>(update, row) + begin;
  float squares = 0.0F;
  for (std::int64_t i = threadIdx.x; live && i < width; i += blockDim.x) {
    const float value = take(from, more, i);
    squares = fmaf(value, value, squares);
  }
  squares = row_sum(squares);
  const float factor = inverse_root(squares / static_cast<float>(width), norm.eps);
  T* to = row_of<T>(out, row) + begin;
  for (std::int64_t i = threadIdx.x; live && i < width; i += blockDim.x) {
    const float gain = load_weight<T>(norm.weight, i) + norm.weight_offset;
    float normal = widen(from[i]) * factor;
    // Llama's order rounds before the weight, Gemma's does not (kernels/contract/README.md).
    normal = norm.weight_offset == 0.0F ? rounded<T>(normal) : normal;
    narrow(normal * gain, to[i]);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    layer_norm_kernel(Rows x, Rows update, Stored weight, Stored bias, double eps, Rows out) {
  const std::int64_t vector = own_vector();
  const bool live = vector < x.rows;
  const std::int64_t row = live ? vector : 0;
  T* from = row_of<T>(x, row);
  const T* more = update.data == nullptr ? nullptr : row_of<T>(update, row);
  const auto count = static_cast<float>(x.cols);
  float total = 0.0F;
  for (std::int64_t i = threadIdx.x; live && i < x.cols; i += blockDim.x) {
    total += take(from, more, i);
  }
  const float mean = row_sum(total) / count;
  float squares = 0.0F;
  for (std::int64_t i = threadIdx.x; live && i < x.cols; i += blockDim.x) {
    const float deviation = widen(from[i]) - mean;
    squares = fmaf(deviation, deviation, squares);
  }
  const float factor = inverse_root(row_sum(squares) / count, eps);
  T* to = row_of<T>(out, row);
  for (std::int64_t i = threadIdx.x; live && i < x.cols; i += blockDim.x) {
    const float normal = (widen(from[i]) - mean) * factor;
    const float gain = load_weight<T>(weight, i);
    narrow(bias.data != nullptr ? fmaf(normal, gain, load_weight<T>(bias, i)) : normal * gain,
           to[i]);
  }
}

}  // namespace

void rms_norm(Rows x, Rows update, const RmsNorm& norm, Rows out, Element element,
              cudaStream_t stream) {
  const std::int64_t width = x.cols / norm.groups;
  with_element(element, [&]<typename T>(T) {
    launch(update.data == nullptr ? "rms_norm" : "add_rms_norm",
           norm_shape(x.rows * norm.groups, width), stream, rms_norm_kernel<T>, x, update, norm,
           width, out);
  });
}

void layer_norm(Rows x, Rows update, Stored weight, Stored bias, double eps, Rows out,
                Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch(update.data == nullptr ? "layer_norm" : "add_layer_norm", norm_shape(x.rows, x.cols),
           stream, layer_norm_kernel<T>, x, update, weight, bias, eps, out);
  });
}

}  // namespace mg::cuda
