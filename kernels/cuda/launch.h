// The one way a kernel is started, and what differs between nvcc and the host emulation
// (tests/cuda_on_host): the launch, and how shared memory is declared.  Included by .cu files only.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

#include "kernels/cuda/check.h"

#ifdef __CUDACC__
/// Shared by the threads of a block: `TYPE* NAME`, COUNT elements, COUNT a constant.
#define MG_SHARED(TYPE, NAME, COUNT)   \
  __shared__ TYPE NAME##_array[COUNT]; \
  TYPE* const NAME = NAME##_array
/// The launch's dynamic shared memory as `TYPE* NAME`.
#define MG_DYNAMIC_SHARED(TYPE, NAME)                           \
  extern __shared__ __align__(16) unsigned char NAME##_bytes[]; \
  TYPE* const NAME = reinterpret_cast<TYPE*>(NAME##_bytes)
#else
#define MG_SHARED(TYPE, NAME, COUNT)     \
  TYPE* const NAME = static_cast<TYPE*>( \
      ::mg::cuda_on_host::block_shared(sizeof(TYPE) * (COUNT), __builtin_FILE(), __LINE__))
#define MG_DYNAMIC_SHARED(TYPE, NAME) \
  TYPE* const NAME = static_cast<TYPE*>(::mg::cuda_on_host::dynamic_shared())
#endif

namespace mg::cuda {

struct Shape3 {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
};

/// Queues `kernel`; `name` appears in messages.  A grid without blocks queues nothing.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, const Shape3& shape, cudaStream_t stream,
            void (*kernel)(Parameters...), const Arguments&... arguments) {
  constexpr std::size_t kWithoutAsking = std::size_t{48} << 10;
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) {
    return;
  }
  if (shape.shared_bytes > kWithoutAsking) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared_bytes)),
          name, shape.shared_bytes, "of shared memory");
  }
#ifdef __CUDACC__
  kernel<<<shape.grid, shape.block, shape.shared_bytes, stream>>>(
      static_cast<Parameters>(arguments)...);
#else
  cuda_on_host::launch(
      {name, reinterpret_cast<const void*>(kernel), shape.grid, shape.block, shape.shared_bytes},
      stream, [=] { kernel(static_cast<Parameters>(arguments)...); });
#endif
  check(cudaGetLastError(), name, shape.grid.x, "blocks");
}

}  // namespace mg::cuda
