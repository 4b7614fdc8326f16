#include "kernels/cuda/map.cuh"

namespace mg::cuda {
namespace {

template <typename T>
__global__ void embed_kernel(Stored table, const std::int32_t* ids, float factor, Rows out,
                             unsigned chunks) {
  map(chunks, out.cols, [&](std::int64_t t, std::int64_t c) {
    const std::int64_t id = ids == nullptr ? t : ids[t];
    const float value = load_weight<T>(table, id * out.cols + c);
    narrow(factor * value, row_of<T>(out, t)[c]);
  });
}

}  // namespace

void embed(Stored table, const std::int32_t* ids, float factor, Rows out, Element element,
           cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("embed", map_shape(out.rows, out.cols), stream, embed_kernel<T>, table, ids, factor, out,
           chunks_of(out.cols));
  });
}

}  // namespace mg::cuda
