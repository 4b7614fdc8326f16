#include "harness/audit/device_sweep.h"

#include <algorithm>

#include "kernels/core/shape.h"

namespace mg {

static_assert(PackedRight::kPanel == MergePass::kPanel);

void DeviceSweep::run(MergeStatistics& device, const TargetViews& views, std::int64_t step) {
  if (!device.takes(views.base.dtype, views.merged.dtype)) {
    return;
  }
  const DeltaRows& delta = *views.delta;
  const std::optional<DeltaRows::Factors> factors = delta.factors();
  if (!factors) {
    return;
  }
  std::vector<MergeChunk> chunks;
  for (std::int64_t begin = 0; begin < delta.rows(); begin += step) {
    first_chunk_.push_back(chunks.size());
    const auto part = chunks_of(delta, begin, std::min(delta.rows(), begin + step));
    chunks.insert(chunks.end(), part.begin(), part.end());
  }
  first_chunk_.push_back(chunks.size());
  // The first rows leave little that could still tighten the scale: few elements need a look.
  const TargetMeasure first = measure_rows(views, 0, leading_rows(delta));
  scale_low_ = first.scale_low;
  scale_high_ = first.scale_high;
  sums_.resize(chunks.size());
  looks_.resize(chunks.size() * to_index(kMergeGroups));
  const bool done = device.sweep({.base = views.base,
                                  .merged = views.merged,
                                  .left = factors->left,
                                  .right = factors->right->panels(),
                                  .rank = delta.rank(),
                                  .cols = delta.cols(),
                                  .scale = delta.scale(),
                                  .scale_low = scale_low_,
                                  .scale_high = scale_high_},
                                 chunks, sums_, looks_);
  if (!done) {
    sums_.clear();
  }
}

TargetMeasure DeviceSweep::measure(const TargetViews& views, std::size_t index, std::int64_t begin,
                                   std::int64_t end) const {
  const std::size_t first = first_chunk_[index];
  const std::size_t count = first_chunk_[index + 1] - first;
  const std::size_t groups = to_index(kMergeGroups);
  const SweptRows swept{std::span(sums_).subspan(first, count),
                        std::span(looks_).subspan(first * groups, count * groups), scale_low_,
                        scale_high_};
  return measure_rows(views, begin, end, &swept);
}

}  // namespace mg
