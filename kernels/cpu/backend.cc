#include "kernels/cpu/backend.h"

#include <algorithm>

#include "kernels/core/convert.h"
#include "kernels/core/error.h"

namespace mg::cpu {
namespace {

Rounding rounding_of(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::kExact:
      return Rounding::kNone;
    case Arithmetic::kFp16:
      return Rounding::kF16;
    case Arithmetic::kBf16:
      return Rounding::kBf16;
  }
  MG_CHECK(false, "an arithmetic mode");
}

std::string available_sets() {
  std::string names;
  for (const char* name : {"avx512", "avx2", "portable"}) {
    if (find_kernels(name) != nullptr) {
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
  }
  return names;
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  MG_CHECK(options.pool != nullptr, "a backend is given its threads");
  const KernelTable* kernels = find_kernels(options.isa.c_str());
  if (kernels == nullptr) {
    throw Error({.code = "backend.unavailable",
                 .what = "the cpu backend cannot run with instruction set \"" + options.isa + "\"",
                 .where = {},
                 .expected = "one of " + available_sets(),
                 .actual = options.isa,
                 .hint = "leave the instruction set out to take the best one"},
                ErrorKind::kUsage);
  }
  return std::make_unique<CpuBackend>(*kernels, options.arithmetic, *options.pool);
}

CpuBackend::CpuBackend(const KernelTable& kernels, Arithmetic arithmetic, ThreadPool& pool)
    : kernels_(kernels), arithmetic_(arithmetic), rounding_(rounding_of(arithmetic)), pool_(pool) {}

Rows rows_of(const Mat& x) {
  const auto* buffer = dynamic_cast<const FloatBuffer*>(x.buffer);
  MG_CHECK(buffer != nullptr, "the matrix lives in this backend's memory");
  MG_CHECK(x.rows == 0 || x.offset + (x.rows - 1) * x.stride + x.cols <= buffer->size(),
           "the matrix lies inside its buffer");
  return {buffer->data() + x.offset, x.stride};
}

void CpuBackend::for_rows(std::int64_t rows, std::int64_t cols,
                          const std::function<void(std::int64_t, std::int64_t)>& body) {
  constexpr std::int64_t kElements = 16384;  // some microseconds of element-wise work
  const std::int64_t grain = std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(cols, 1));
  pool_.for_chunks(rows, grain, body);
}

void CpuBackend::load_vector(const TensorView& vector, float* out) const {
  const std::int64_t n = vector.elements();
  widen_to_float(vector.dtype, vector.data, n, out);
  kernels_.round(rounding_, out, n);
}

}  // namespace mg::cpu
