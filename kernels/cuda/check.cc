#include "kernels/cuda/check.h"

#include <string>

#include "kernels/core/error.h"

namespace mg::cuda {

void fail(cudaError_t status, const char* operation, std::uint64_t amount, const char* unit) {
  static_cast<void>(cudaGetLastError());  // forget it: what can go on should not fail again
  const std::string size =
      unit[0] == '\0' ? "" : " (" + std::to_string(amount) + " " + std::string(unit) + ")";
  const bool memory = status == cudaErrorMemoryAllocation;
  throw Error({.code = memory ? "device.out-of-memory" : "device.failed",
               .what = "the device failed at " + std::string(operation) + size,
               .where = {},
               .expected = {},
               .actual = cudaGetErrorString(status),
               .hint = memory ? "fewer --chunk-tokens or a shorter suite need less device memory"
                              : "an earlier kernel may be at fault: `mergegauge devicetest` runs "
                                "each by itself"},
              ErrorKind::kInternal);
}

}  // namespace mg::cuda
