#include "kernels/cuda/map.cuh"
#include "kernels/cuda/math.cuh"

namespace mg::cuda {
namespace {

template <typename T, ActivationKind kKind>
__global__ void gated_activation_kernel(Rows gate, Rows up, Rows out, unsigned chunks) {
  map(chunks, gate.cols, [&](std::int64_t r, std::int64_t c) {
    const float activated = rounded<T>(activate<kKind>(widen(row_of<T>(gate, r)[c])));
    narrow(activated * widen(row_of<T>(up, r)[c]), row_of<T>(out, r)[c]);
  });
}

template <typename T, ActivationKind kKind>
__global__ void activation_kernel(Rows x, unsigned chunks) {
  map(chunks, x.cols, [&](std::int64_t r, std::int64_t c) {
    T& value = row_of<T>(x, r)[c];
    narrow(activate<kKind>(widen(value)), value);
  });
}

template <typename T>
__global__ void softcap_kernel(float cap, Rows x, unsigned chunks) {
  map(chunks, x.cols, [&](std::int64_t r, std::int64_t c) {
    T& value = row_of<T>(x, r)[c];
    narrow(cap * rounded<T>(tanh_of(rounded<T>(widen(value) / cap))), value);
  });
}

template <ActivationKind kKind>
struct KindTag {
  static constexpr ActivationKind kValue = kKind;
};

template <typename Body>
void with_kind(ActivationKind kind, const Body& body) {
  switch (kind) {
    case ActivationKind::kSilu:
      return body(KindTag<ActivationKind::kSilu>{});
    case ActivationKind::kGeluTanh:
      return body(KindTag<ActivationKind::kGeluTanh>{});
    case ActivationKind::kGeluErf:
      return body(KindTag<ActivationKind::kGeluErf>{});
    case ActivationKind::kQuickGelu:
      return body(KindTag<ActivationKind::kQuickGelu>{});
    case ActivationKind::kRelu:
      return body(KindTag<ActivationKind::kRelu>{});
  }
}

}  // namespace

void gated_activation(ActivationKind kind, Rows gate, Rows up, Rows out, Element element,
                      cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    with_kind(kind, [&]<typename Kind>(Kind) {
      launch("gated_activation", map_shape(gate.rows, gate.cols), stream,
             gated_activation_kernel<T, Kind::kValue>, gate, up, out, chunks_of(gate.cols));
    });
  });
}

void activation(ActivationKind kind, Rows x, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    with_kind(kind, [&]<typename Kind>(Kind) {
      launch("activation", map_shape(x.rows, x.cols), stream, activation_kernel<T, Kind::kValue>, x,
             chunks_of(x.cols));
    });
  });
}

void softcap(float cap, Rows x, Element element, cudaStream_t stream) {
  with_element(element, [&]<typename T>(T) {
    launch("softcap", map_shape(x.rows, x.cols), stream, softcap_kernel<T>, cap, x,
           chunks_of(x.cols));
  });
}

}  // namespace mg::cuda
