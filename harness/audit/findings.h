// From judgements of tensors to findings about the checkpoint: stories grouped, and what only the
// whole shows. Tested in tests/audit.
#pragma once

#include <vector>

#include "harness/audit/judge.h"
#include "harness/audit/plan.h"
#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"
#include "harness/model/attach.h"
#include "harness/result/finding.h"

namespace mg {

/// What one audit is about.
struct AuditInputs {
  const Checkpoint& base;
  const Adapter& adapter;
  const AttachedAdapter& attached;
  const Checkpoint& merged;
};

/// One finding per story, errors first; `judgements` as judged, in the plan's order.
std::vector<Finding> make_findings(const AuditInputs& inputs, const AuditPlan& plan,
                                   const std::vector<ItemJudgement>& judgements);

/// Whether files beside the adapter hold weights that this audit cannot read.
bool has_unread_weights(const std::vector<Finding>& findings);

}  // namespace mg
