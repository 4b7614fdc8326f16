#include "kernels/cuda/plugin.h"

#include "kernels/core/error.h"
#include "kernels/cuda/backend.h"

extern "C" {

[[gnu::visibility("default")]] const char* mergegauge_cuda_stamp() {
  return mg::cuda::kStamp;
}

[[gnu::visibility("default")]] mg::Backend* mergegauge_cuda_make(
    const mg::BackendOptions& options) {
  MG_CHECK(options.pool != nullptr, "a backend is given its threads");
  return new mg::cuda::CudaBackend(options.arithmetic, *options.pool, options.device);
}

}  // extern "C"
