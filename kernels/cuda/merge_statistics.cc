#include "kernels/merge_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/check.h"

namespace mg::cuda {
namespace {

constexpr std::int64_t kSliceElements = std::int64_t{1} << 22;
constexpr std::int64_t kCopyGrain = std::int64_t{1} << 20;
constexpr std::int64_t kSliceChunks = kSliceElements / kMergeChunk;

std::size_t element_bytes_of(const TensorView& view) {
  return static_cast<std::size_t>(dtype_bits(view.dtype) / 8);
}

}  // namespace

bool DeviceMerges::takes(DType base, DType merged) const {
  const auto plain = [](DType dtype) {
    return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32;
  };
  return plain(base) && plain(merged);
}

void DeviceMerges::send(const void* from, std::size_t bytes, void* to) {
  Pinned staging = device_.pinned(bytes);
  const auto* source = static_cast<const std::byte*>(from);
  pool_.for_chunks(
      static_cast<std::int64_t>(bytes), kCopyGrain, [&](std::int64_t begin, std::int64_t end) {
        std::memcpy(staging.data() + begin, source + begin, static_cast<std::size_t>(end - begin));
      });
  check(cudaMemcpyAsync(to, staging.data(), bytes, cudaMemcpyHostToDevice, device_.compute()),
        "uploading a merged weight", bytes, "bytes");
  staging.last_copy().record(device_.compute());
  device_.keep(std::move(staging));
}

Pinned DeviceMerges::fetch(const void* from, std::size_t bytes) {
  Pinned arriving = device_.pinned(bytes);
  check(cudaMemcpyAsync(arriving.data(), from, bytes, cudaMemcpyDeviceToHost, device_.compute()),
        "reading merge statistics", bytes, "bytes");
  arriving.last_copy().record(device_.compute());
  return arriving;
}

bool DeviceMerges::sweep(const MergePass& pass, std::span<const MergeChunk> chunks,
                         std::span<MergeSums> sums, std::span<GroupLook> looks) {
  MG_CHECK(takes(pass.base.dtype, pass.merged.dtype), "tensors that the device takes");
  MG_CHECK(sums.size() == chunks.size() && looks.size() == chunks.size() * kMergeGroups,
           "room for every chunk");
  const std::int64_t panels = (pass.cols + MergePass::kPanel - 1) / MergePass::kPanel;
  const auto right = static_cast<std::size_t>(panels * MergePass::kPanel * pass.rank);
  const std::size_t slice_chunks = std::min<std::size_t>(chunks.size(), kSliceChunks);
  bool enough = true;
  const auto room = [&](std::size_t bytes) {
    Memory memory = device_.try_allocate(bytes);
    enough = enough && !memory.empty();
    return memory;
  };
  const auto room_for = [&](const TensorView& view) {
    const std::int64_t elements = std::min(kSliceElements, view.elements());
    return room(static_cast<std::size_t>(elements) * element_bytes_of(view));
  };
  const Memory of_left = room(pass.left.size_bytes());
  const Memory of_right = room(right * sizeof(double));
  const Memory of_base = room_for(pass.base);
  const Memory of_merged = room_for(pass.merged);
  const Memory of_chunks = room(slice_chunks * sizeof(MergeChunk));
  const Memory of_sums = room(slice_chunks * sizeof(MergeSums));
  const Memory of_looks = room(slice_chunks * kMergeGroups);
  if (!enough) {
    ++refused_;
    return false;
  }
  send(pass.left.data(), pass.left.size_bytes(), of_left.data());
  send(pass.right, right * sizeof(double), of_right.data());

  struct Arriving {
    Pinned sums;
    Pinned looks;
    std::size_t first;
    std::size_t count;
  };
  std::vector<Arriving> arriving;
  const auto take_first = [&] {
    Arriving done = std::move(arriving.front());
    arriving.erase(arriving.begin());
    done.looks.last_copy().wait();
    std::memcpy(sums.data() + done.first, done.sums.data(), done.count * sizeof(MergeSums));
    std::memcpy(looks.data() + done.first * kMergeGroups, done.looks.data(),
                done.count * kMergeGroups);
    device_.keep(std::move(done.sums));
    device_.keep(std::move(done.looks));
  };
  for (std::size_t first = 0; first < chunks.size();) {
    const std::int64_t begin = chunks[first].begin;
    std::size_t end = first;
    while (end < chunks.size() && end - first < slice_chunks &&
           chunks[end].begin + chunks[end].count - begin <= kSliceElements) {
      ++end;
    }
    const auto elements =
        static_cast<std::size_t>(chunks[end - 1].begin + chunks[end - 1].count - begin);
    const auto part = [&](const TensorView& view, const Memory& to) {
      const std::size_t width = element_bytes_of(view);
      send(view.data + static_cast<std::size_t>(begin) * width, elements * width, to.data());
      return Stored{to.data(), view.dtype};
    };
    const MergeSlice slice{.base = part(pass.base, of_base),
                           .merged = part(pass.merged, of_merged),
                           .left = of_left.as<const double>(),
                           .right = of_right.as<const double>(),
                           .rank = pass.rank,
                           .cols = pass.cols,
                           .scale = pass.scale,
                           .scale_low = pass.scale_low,
                           .scale_high = pass.scale_high,
                           .store = grid_format(pass.merged.dtype),
                           .half_ulp = std::ldexp(1.0, grid_format(pass.merged.dtype).shift - 53),
                           .begin = begin,
                           .chunks = of_chunks.as<const MergeChunk>(),
                           .chunk_count = static_cast<std::int64_t>(end - first)};
    send(&chunks[first], (end - first) * sizeof(MergeChunk), of_chunks.data());
    merge_statistics(slice, of_sums.as<MergeSums>(), of_looks.as<GroupLook>(), device_.compute());
    Pinned of_slice = fetch(of_sums.data(), (end - first) * sizeof(MergeSums));
    arriving.push_back({std::move(of_slice), fetch(of_looks.data(), (end - first) * kMergeGroups),
                        first, end - first});
    if (arriving.size() > 1) {  // the device works on one while the next is staged
      take_first();
    }
    first = end;
  }
  while (!arriving.empty()) {
    take_first();
  }
  return true;
}

}  // namespace mg::cuda
