#include "kernels/cuda/backend.h"

#include <algorithm>

#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/cuda/check.h"

namespace mg::cuda {
namespace {

Element element_of(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::kExact:
      return Element::kF32;
    case Arithmetic::kFp16:
      return Element::kF16;
    case Arithmetic::kBf16:
      return Element::kBf16;
  }
  MG_CHECK(false, "an arithmetic mode");
}

}  // namespace

CudaBackend::CudaBackend(Arithmetic arithmetic, ThreadPool& pool, int device)
    : arithmetic_(arithmetic),
      element_(element_of(arithmetic)),
      pool_(pool),
      device_(device),
      weights_(device_, element_, pool.threads()),
      gemm_(element_),
      statistics_(device_),
      merges_(device_, pool) {}

BackendInfo CudaBackend::info() const {
  return {"cuda", device_.architecture(), pool_.threads()};
}

std::vector<std::string> CudaBackend::notes() const {
  std::vector<std::string> notes = notes_;
  if (gemm_.exceptions() > 0) {
    notes.push_back("cuBLASLt could not use one algorithm for every number of rows: bits of " +
                    std::to_string(gemm_.exceptions()) + " products may depend on it");
  }
  if (merges_.refused() > 0) {
    notes.push_back("device memory was short: " + std::to_string(merges_.refused()) +
                    " merged weights were audited on the host");
  }
  return notes;
}

Rows CudaBackend::rows_of(const Mat& x) const {
  const auto* buffer = dynamic_cast<const DeviceBuffer*>(x.buffer);
  MG_CHECK(buffer != nullptr, "the matrix lives in this backend's memory");
  MG_CHECK(x.rows == 0 || x.offset + (x.rows - 1) * x.stride + x.cols <= buffer->size(),
           "the matrix lies inside its buffer");
  auto* bytes = static_cast<std::byte*>(buffer->data());
  return {bytes + x.offset * element_bytes(element_), x.rows, x.cols, x.stride};
}

bool CudaBackend::aligned(const Rows& x) const {
  return reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 &&
         x.stride == aligned_stride(x.stride, element_);
}

CudaBackend::Aligned CudaBackend::try_scratch(std::int64_t rows, std::int64_t cols) {
  const std::int64_t stride = aligned_stride(cols, element_);
  Memory memory = device_.try_allocate(bytes_of(rows * stride));
  const Rows window{memory.data(), rows, cols, stride};
  return {std::move(memory), window};
}

CudaBackend::Aligned CudaBackend::scratch(std::int64_t rows, std::int64_t cols, const char* what) {
  Aligned found = try_scratch(rows, cols);
  if (found.memory.empty()) {
    fail(cudaErrorMemoryAllocation, what, bytes_of(rows * aligned_stride(cols, element_)), "bytes");
  }
  return found;
}

CudaBackend::Aligned CudaBackend::aligned_copy(const Rows& x) {
  if (aligned(x)) {
    return {Memory(), x};
  }
  Aligned copy = scratch(x.rows, x.cols, "aligning a matrix");
  gather(x, nullptr, copy.rows, element_, device_.compute());
  return copy;
}

void CudaBackend::note_halving(const char* what, std::int64_t from, std::int64_t to,
                               const char* unit) {
  std::string note = "device memory was short: " + std::string(what) + " took " +
                     std::to_string(to) + " " + unit + " at a time instead of " +
                     std::to_string(from);
  if (std::find(notes_.begin(), notes_.end(), note) == notes_.end()) {
    notes_.push_back(std::move(note));
  }
}

}  // namespace mg::cuda
