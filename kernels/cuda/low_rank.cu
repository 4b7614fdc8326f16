// The last step of a LoRA beside its matrix; its two skinny products are cuBLASLt's (gemm.h).
#include "kernels/cuda/map.cuh"

namespace mg::cuda {
namespace {

template <typename T>
__global__ void add_scaled_kernel(Rows product, float scale, Rows y, unsigned chunks) {
  map(chunks, y.cols, [&](std::int64_t r, std::int64_t c) {
    T& target = row_of<T>(y, r)[c];
    const float scaled = rounded<T>(scale * widen(row_of<T>(product, r)[c]));
    narrow(widen(target) + scaled, target);
  });
}

}  // namespace

void add_scaled(Rows product, float scale, Rows y, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("add_scaled", map_shape(y.rows, y.cols), stream, add_scaled_kernel<T>, product, scale, y,
           chunks_of(y.cols));
  });
}

}  // namespace mg::cuda
