// The base an adapter was trained on, where it is not the one that merged was made from: QLoRA
// trains on dequantised weights, and its merge goes into those or into the 16-bit ones
// (docs/reference/failures.md, F28).  Tested in tests/audit/quantised_test.cc.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "harness/audit/audit.h"
#include "harness/audit/explain.h"
#include "harness/audit/hypothesis.h"
#include "harness/audit/judge.h"
#include "harness/audit/plan.h"
#include "harness/result/finding.h"

namespace mg {

/// A target held against its counterpart in the base that the adapter was trained on.
struct OtherBaseCase {
  AuditItem item;
  std::unique_ptr<Hypothesis> pair;  // the adapter's, on that base
  std::unique_ptr<DeltaRows> delta;
  std::vector<DecodedHold> holds;
  TargetViews views;
  TargetMeasure measure;
  std::optional<double> gap;  // |W - W'| / |D|: the two bases' difference in units of the delta
};

class TrainedOn {
 public:
  /// `checkpoint` must outlive this.
  explicit TrainedOn(const Checkpoint& checkpoint);

  /// Measures `item` on this base.  Nothing where it has no such tensor, of that shape.  The item's
  /// own base must be held.
  std::optional<OtherBaseCase> measure(const AuditItem& item, const TargetViews& views,
                                       const TargetMeasure& own, ThreadPool& pool) const;
  /// The counterpart of a tensor without a delta, of its shape.
  const StoredTensor* find(const StoredTensor& base) const;
  const Checkpoint& checkpoint() const { return *checkpoint_; }

 private:
  const Checkpoint* checkpoint_;
  std::unordered_map<std::string, const StoredTensor*> by_name_;  // canonical
};

/// Which base merged was made from, as the judgements say.
MergedInto merged_into(const std::vector<ItemJudgement>& judgements);

/// F28 as one finding about the whole: which of the two bases merged stands on, and how far they
/// lie apart.  Nothing where no target tells them apart.
std::optional<Finding> merge_base_finding(const std::vector<ItemJudgement>& judgements,
                                          const Checkpoint& trained_on);

}  // namespace mg
