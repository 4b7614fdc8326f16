// Weights in the type a product needs them in; the products themselves are cuBLASLt's (gemm.h).
#include "kernels/cuda/map.cuh"

namespace mg::cuda {
namespace {

template <typename T>
__global__ void convert_kernel(Stored matrix, std::int64_t cols, T* out, std::int64_t stride,
                               unsigned chunks) {
  map(chunks, cols, [&](std::int64_t r, std::int64_t c) {
    narrow(load_stored(matrix, r * cols + c), out[r * stride + c]);
  });
}

}  // namespace

void convert(Stored matrix, std::int64_t rows, std::int64_t cols, void* out, std::int64_t stride,
             Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("convert", map_shape(rows, cols), stream, convert_kernel<T>, matrix, cols,
           static_cast<T*>(out), stride, chunks_of(cols));
  });
}

}  // namespace mg::cuda
