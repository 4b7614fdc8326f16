// The oracle of kernels/row_statistics.h, in extended precision.
#pragma once

#include "kernels/row_statistics.h"

namespace mg::reference {

class ReferenceStatistics final : public RowStatistics {
 public:
  bool reaches(const Mat& x) const override;
  void sweep_logits(const LogitSweep& sweep, std::span<LaneSweep> lanes,
                    std::span<PairSweep> pairs) override;
  void squares(Mat subject, Mat reference, std::span<const std::int32_t> reference_rows,
               std::span<RowSquares> out) override;
};

}  // namespace mg::reference
