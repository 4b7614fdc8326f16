#include "kernels/cuda/map.cuh"

namespace mg::cuda {
namespace {

/// Column p of a row is pair p % half of head p / half.
template <typename T>
__global__ void rope_kernel(Rows cos, Rows sin, std::int64_t heads, std::int64_t half, Rows x,
                            unsigned chunks) {
  const std::int64_t head_dim = x.cols / heads;
  map(chunks, heads * half, [&](std::int64_t t, std::int64_t p) {
    const std::int64_t i = p % half;
    T* first = row_of<T>(x, t) + p / half * head_dim + i;
    T* second = first + half;
    const float a = widen(*first);
    const float b = widen(*second);
    const float c = widen(row_of<T>(cos, t)[i]);
    const float s = widen(row_of<T>(sin, t)[i]);
    narrow(rounded<T>(a * c) - rounded<T>(b * s), *first);
    narrow(rounded<T>(b * c) + rounded<T>(a * s), *second);
  });
}

}  // namespace

void rope(Rows cos, Rows sin, std::int64_t heads, std::int64_t rotary_dim, Rows x, Element element,
          cudaStream_t stream) {
  const std::int64_t half = rotary_dim / 2;
  with_element(element, [&]<typename T>(T) {
    launch("rope", map_shape(x.rows, heads * half), stream, rope_kernel<T>, cos, sin, heads, half,
           x, chunks_of(heads * half));
  });
}

}  // namespace mg::cuda
