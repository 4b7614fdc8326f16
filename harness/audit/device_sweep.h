// A target whose sums come from a device (kernels/merge_statistics.h): the device passes over all
// of it, then each part of its rows is measured by the sums found there and a closer look at the
// elements it named.  The same bits as without a device.  Tested in
// tests/cuda_on_host/merge_statistics_test.cc.
#pragma once

#include <vector>

#include "harness/audit/measure.h"

namespace mg {

class DeviceSweep {
 public:
  /// Has `device` pass over `views` in parts of `step` rows.  Without effect where it takes no such
  /// dtypes, where D is more than one product, and where it has too little memory.
  void run(MergeStatistics& device, const TargetViews& views, std::int64_t step);

  bool empty() const { return sums_.empty(); }
  /// measure_rows() of the rows of part `index`, by any thread.
  TargetMeasure measure(const TargetViews& views, std::size_t index, std::int64_t begin,
                        std::int64_t end) const;

 private:
  std::vector<MergeSums> sums_;           // of the parts' chunks, in order
  std::vector<GroupLook> looks_;          // kMergeGroups of each
  std::vector<std::size_t> first_chunk_;  // of each part, and the number of all
  double scale_low_ = 0;
  double scale_high_ = 0;
};

}  // namespace mg
