#include <algorithm>
#include <cstring>

#include "kernels/contract/arguments.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/check.h"

namespace mg::cuda {
namespace {

constexpr std::int64_t kStagedElements = std::int64_t{1}
                                         << 21;  // of one copy to or from the device

/// Rows of at most kStagedElements together, but at least one.
std::int64_t rows_at_once(std::int64_t cols) {
  return std::max<std::int64_t>(1, kStagedElements / std::max<std::int64_t>(cols, 1));
}

}  // namespace

std::unique_ptr<Buffer> CudaBackend::allocate(std::int64_t elements) {
  MG_CHECK(elements >= 0, "a buffer's size is not negative");
  return std::make_unique<DeviceBuffer>(
      device_, element_, device_.allocate(bytes_of(elements), "allocating activations"), elements);
}

void CudaBackend::upload(std::span<const float> values, Mat out) {
  check_upload(values, out);
  const Rows target = rows_of(out);
  const std::int64_t step = rows_at_once(out.cols);
  for (std::int64_t begin = 0; begin < out.rows && out.cols > 0; begin += step) {
    const std::int64_t count = std::min(step, out.rows - begin);
    const Memory staged = device_.put(values.subspan(static_cast<std::size_t>(begin * out.cols),
                                                     static_cast<std::size_t>(count * out.cols)),
                                      "uploading activations");
    import_rows(staged.as<const float>(), part_of(target, begin, count, element_), element_,
                device_.compute());
  }
}

std::span<const float> CudaBackend::read(Mat x, std::vector<float>& staging) {
  check_window(x);
  const Rows source = rows_of(x);
  staging.resize(static_cast<std::size_t>(x.rows * x.cols));
  if (staging.empty()) {
    return staging;
  }
  const std::int64_t step = rows_at_once(x.cols);
  struct Arriving {
    Pinned memory;
    std::int64_t begin;
    std::int64_t elements;
  };
  std::vector<Arriving> arriving;
  const auto take_first = [&] {
    Arriving first = std::move(arriving.front());
    arriving.erase(arriving.begin());
    first.memory.last_copy().wait();
    float* to = staging.data() + first.begin * x.cols;
    constexpr std::int64_t kGrain = std::int64_t{1} << 18;
    pool_.for_chunks(first.elements, kGrain, [&](std::int64_t from, std::int64_t end) {
      widen_to_float(dtype_of(element_), first.memory.data() + bytes_of(from), end - from,
                     to + from);
    });
    device_.keep(std::move(first.memory));
  };
  for (std::int64_t begin = 0; begin < x.rows; begin += step) {
    const std::int64_t count = std::min(step, x.rows - begin);
    const Rows rows = part_of(source, begin, count, element_);
    Memory dense;  // of a matrix with gaps between its rows
    const void* from = rows.data;
    if (count > 1 && rows.stride != rows.cols) {
      dense = device_.allocate(bytes_of(count * x.cols), "gathering rows to read");
      gather(rows, nullptr, {dense.data(), count, x.cols, x.cols}, element_, device_.compute());
      from = dense.data();
    }
    const std::size_t bytes = bytes_of(count * x.cols);
    Pinned memory = device_.pinned(bytes);
    check(cudaMemcpyAsync(memory.data(), from, bytes, cudaMemcpyDeviceToHost, device_.compute()),
          "reading activations", bytes, "bytes");
    memory.last_copy().record(device_.compute());
    arriving.push_back({std::move(memory), begin, count * x.cols});
    if (arriving.size() > 1) {  // one is on its way while the other is widened
      take_first();
    }
  }
  while (!arriving.empty()) {
    take_first();
  }
  return staging;
}

void CudaBackend::copy(Mat x, Mat out) {
  check_same_shape(x, out);
  gather(rows_of(x), nullptr, rows_of(out), element_, device_.compute());
}

void CudaBackend::gather_rows(Mat x, std::span<const std::int32_t> rows, Mat out) {
  check_gather(x, rows, out);
  const Memory indices = device_.put(rows, "uploading row indices");
  gather(rows_of(x), indices.as<const std::int32_t>(), rows_of(out), element_, device_.compute());
}

void CudaBackend::scatter_add_rows(Mat x, std::span<const std::int32_t> rows,
                                   std::span<const float> factors, Mat out) {
  check_scatter(x, rows, factors, out);
  const Memory indices = device_.put(rows, "uploading row indices");
  const Memory weights = device_.put(factors, "uploading factors");
  scatter_add(rows_of(x), indices.as<const std::int32_t>(), weights.as<const float>(), rows_of(out),
              element_, device_.compute());
}

void CudaBackend::fill_zero(Mat out) {
  check_window(out);
  cuda::fill_zero(rows_of(out), element_, device_.compute());
}

}  // namespace mg::cuda
