#include "kernels/cuda/map.cuh"

namespace mg::cuda {
namespace {

template <typename T>
__global__ void scale_columns_kernel(const float* factors, Rows y, unsigned chunks) {
  map(chunks, y.cols, [&](std::int64_t r, std::int64_t c) {
    T& target = row_of<T>(y, r)[c];
    narrow(widen(target) * factors[c], target);
  });
}

template <typename T>
__global__ void add_vector_kernel(Stored vector, float factor, Rows y, unsigned chunks) {
  map(chunks, y.cols, [&](std::int64_t r, std::int64_t c) {
    T& target = row_of<T>(y, r)[c];
    narrow(widen(target) + rounded<T>(factor * load_weight<T>(vector, c)), target);
  });
}

template <typename T>
__global__ void add_kernel(Rows x, Rows y, unsigned chunks) {
  map(chunks, y.cols, [&](std::int64_t r, std::int64_t c) {
    T& target = row_of<T>(y, r)[c];
    narrow(widen(target) + widen(row_of<T>(x, r)[c]), target);
  });
}

}  // namespace

void scale_columns(const float* factors, Rows y, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("scale_columns", map_shape(y.rows, y.cols), stream, scale_columns_kernel<T>, factors, y,
           chunks_of(y.cols));
  });
}

void add_vector(Stored vector, float factor, Rows y, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("add_vector", map_shape(y.rows, y.cols), stream, add_vector_kernel<T>, vector, factor, y,
           chunks_of(y.cols));
  });
}

void add(Rows x, Rows y, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("add", map_shape(y.rows, y.cols), stream, add_kernel<T>, x, y, chunks_of(y.cols));
  });
}

}  // namespace mg::cuda
