// Which instruction sets this build and this machine have, best first.
#include <array>
#include <cstring>

#include "kernels/cpu/simd/table.h"

namespace mg::cpu {

#if defined(__x86_64__)
namespace avx512 {
extern const KernelTable kTable;
}
namespace avx2 {
extern const KernelTable kTable;
}
#endif
namespace portable {
extern const KernelTable kTable;
}

const KernelTable* find_kernels(const char* isa) {
  const auto wanted = [&](const KernelTable& table) {
    return isa[0] == '\0' || std::strcmp(isa, table.name) == 0;
  };
#if defined(__x86_64__)
  // AVX2 implies F16C (kernels/core/convert.cc), for which clang 14's builtin cannot ask.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (avx512 && wanted(avx512::kTable)) {
    return &avx512::kTable;
  }
  if (avx2 && wanted(avx2::kTable)) {
    return &avx2::kTable;
  }
#endif
  return wanted(portable::kTable) ? &portable::kTable : nullptr;
}

}  // namespace mg::cpu
