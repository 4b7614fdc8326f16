#include <cstring>

#include "kernels/contract/arguments.h"
#include "kernels/core/error.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/check.h"

namespace mg::cuda {
namespace {

const DeviceBuffer& buffer_of(const Mat& x) {
  const auto* buffer = dynamic_cast<const DeviceBuffer*>(x.buffer);
  MG_CHECK(buffer != nullptr, "the matrix lives on a device");
  MG_CHECK(x.rows == 0 || x.offset + (x.rows - 1) * x.stride + x.cols <= buffer->size(),
           "the matrix lies inside its buffer");
  return *buffer;
}

}  // namespace

bool DeviceStatistics::reaches(const Mat& x) const {
  const auto* buffer = dynamic_cast<const DeviceBuffer*>(x.buffer);
  return buffer != nullptr && buffer->device().ordinal() == device_.ordinal();
}

DeviceRows DeviceStatistics::rows_of(const Mat& x) {
  const DeviceBuffer& buffer = buffer_of(x);
  if (&buffer.device() != &device_) {
    Event written;
    written.record(buffer.device().compute());
    written.hold(device_.compute());
  }
  const auto* bytes = static_cast<const std::byte*>(buffer.data());
  return {bytes + x.offset * element_bytes(buffer.element()), x.stride, buffer.element()};
}

void DeviceStatistics::bring(const Memory& from, std::size_t bytes, void* to) {
  Pinned arrived = device_.pinned(bytes);
  check(cudaMemcpyAsync(arrived.data(), from.data(), bytes, cudaMemcpyDeviceToHost,
                        device_.compute()),
        "reading statistics", bytes, "bytes");
  arrived.last_copy().record(device_.compute());
  arrived.last_copy().wait();
  std::memcpy(to, arrived.data(), bytes);
  device_.keep(std::move(arrived));
}

void DeviceStatistics::sweep_logits(const LogitSweep& sweep, std::span<LaneSweep> lanes,
                                    std::span<PairSweep> pairs) {
  check_sweep(sweep, lanes, pairs);
  if (lanes.empty()) {
    return;
  }
  const std::int64_t rows = sweep.lanes.front().rows;
  std::vector<DeviceRows> places;
  for (const Mat& lane : sweep.lanes) {
    places.push_back(rows_of(lane));
  }
  const Memory table = device_.put(std::span<const DeviceRows>(places), "uploading lanes");
  const auto zeroed = [&](std::size_t bytes) {
    Memory memory = device_.allocate(bytes, "statistics of logits");
    check(cudaMemsetAsync(memory.data(), 0, bytes, device_.compute()), "clearing statistics", bytes,
          "bytes");
    return memory;
  };
  const Memory scanned = zeroed(lanes.size_bytes());
  scan_logits(table.as<const DeviceRows>(), static_cast<std::int64_t>(places.size()), rows,
              sweep.vocabulary, scanned.as<LaneSweep>(), device_.compute());
  if (!pairs.empty()) {
    const Memory which = device_.put(sweep.pairs, "uploading pairs");
    const Memory next = device_.put(sweep.next_token, "uploading next tokens");
    const Memory compared = zeroed(pairs.size_bytes());
    compare_logits({.lanes = table.as<const DeviceRows>(),
                    .sweeps = scanned.as<const LaneSweep>(),
                    .pairs = which.as<const LanePair>(),
                    .pair_count = static_cast<std::int64_t>(sweep.pairs.size()),
                    .rows = rows,
                    .vocabulary = sweep.vocabulary,
                    .next = next.as<const std::int32_t>()},
                   compared.as<PairSweep>(), device_.compute());
    bring(compared, pairs.size_bytes(), pairs.data());
  }
  bring(scanned, lanes.size_bytes(), lanes.data());
  const auto named = [](std::int32_t token) { return token == kNoToken ? -1 : token; };
  for (LaneSweep& lane : lanes) {
    for (std::int32_t& token : lane.scan.top_id) {
      token = named(token);
    }
    lane.scan.first_non_finite = named(lane.scan.first_non_finite);
  }
}

void DeviceStatistics::squares(Mat subject, Mat reference,
                               std::span<const std::int32_t> reference_rows,
                               std::span<RowSquares> out) {
  check_squares(subject, reference, reference_rows, out);
  if (out.empty()) {
    return;
  }
  const DeviceRows from = rows_of(subject);
  const DeviceRows beside = rows_of(reference);
  Memory rows;
  if (!reference_rows.empty()) {
    rows = device_.put(reference_rows, "uploading row indices");
  }
  const Memory sums = device_.allocate(out.size_bytes(), "squares of rows");
  row_squares(from, beside, rows.as<const std::int32_t>(), subject.rows, subject.cols,
              sums.as<RowSquares>(), device_.compute());
  bring(sums, out.size_bytes(), out.data());
}

}  // namespace mg::cuda
