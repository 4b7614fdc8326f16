#include "kernels/cuda/map.cuh"

namespace mg::cuda {
namespace {

template <typename T>
__global__ void import_kernel(const float* x, Rows out, unsigned chunks) {
  map(chunks, out.cols,
      [&](std::int64_t r, std::int64_t c) { narrow(x[r * out.cols + c], row_of<T>(out, r)[c]); });
}

template <typename T>
__global__ void gather_kernel(Rows x, const std::int32_t* rows, Rows out, unsigned chunks) {
  map(chunks, out.cols, [&](std::int64_t r, std::int64_t c) {
    row_of<T>(out, r)[c] = row_of<T>(x, rows == nullptr ? r : rows[r])[c];
  });
}

template <typename T>
__global__ void scatter_add_kernel(Rows x, const std::int32_t* rows, const float* factors, Rows out,
                                   unsigned chunks) {
  map(chunks, x.cols, [&](std::int64_t r, std::int64_t c) {
    T& target = row_of<T>(out, rows[r])[c];
    const float product = rounded<T>(factors[r] * widen(row_of<T>(x, r)[c]));
    narrow(widen(target) + product, target);
  });
}

template <typename T>
__global__ void fill_zero_kernel(Rows out, unsigned chunks) {
  map(chunks, out.cols,
      [&](std::int64_t r, std::int64_t c) { narrow(0.0F, row_of<T>(out, r)[c]); });
}

}  // namespace

void import_rows(const float* x, Rows out, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("import_rows", map_shape(out.rows, out.cols), stream, import_kernel<T>, x, out,
           chunks_of(out.cols));
  });
}

void gather(Rows x, const std::int32_t* rows, Rows out, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("gather", map_shape(out.rows, out.cols), stream, gather_kernel<T>, x, rows, out,
           chunks_of(out.cols));
  });
}

void scatter_add(Rows x, const std::int32_t* rows, const float* factors, Rows out, Element element,
                 cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("scatter_add", map_shape(x.rows, x.cols), stream, scatter_add_kernel<T>, x, rows,
           factors, out, chunks_of(x.cols));
  });
}

void fill_zero(Rows out, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("fill_zero", map_shape(out.rows, out.cols), stream, fill_zero_kernel<T>, out,
           chunks_of(out.cols));
  });
}

}  // namespace mg::cuda
