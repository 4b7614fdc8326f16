// From the comparisons of a run to its verdicts: guards first (would the numbers mean anything?),
// then the gates of a profile.  A regression is a verdict, never an exception.  Not for: computing
// metrics (harness/metrics) or the exit code (harness/result/status.h).  Tested in tests/verdict/.
#pragma once

#include <optional>
#include <vector>

#include "harness/result/audit.h"
#include "harness/result/comparison.h"
#include "harness/result/finding.h"
#include "harness/result/verdict.h"
#include "harness/verdict/gate_profile.h"

namespace mg {

struct JudgeInputs {
  const Comparison* total = nullptr;  // reference against subject, with the base; required
  const Comparison* tool = nullptr;  // re-merge against subject; null if there was no re-merge lane
  const Comparison* rounding = nullptr;  // reference against re-merge; null likewise
  // The reference run twice gave the same bits in every metric (A/A); nothing: that was not tried.
  std::optional<bool> self_compare_exact;
  // The audit found merged equal to its re-merge but for stray ulps: the two are one lane, and
  // `tool` would be zero.
  bool remerge_is_merged = false;
  // Reference and subject compute with the very same weights (an adapter of whole tensors only), so
  // that equal logits are right and not a sign that one lane was compared twice.
  bool same_weights = false;
  // The adapter on the other of two bases (the one trained on, or the one given) against subject.
  const Comparison* other = nullptr;
  std::optional<Floor> floor;
  const AuditResult* audit =
      nullptr;  // null: the weights were not audited, and no weight gate is shown
  // `total` is merged against what is served in its place: of the guards only those about numbers
  // that are not finite and an adapter without effect apply, and gates carry the subject's name.
  bool served = false;
};

struct Judgement {
  std::vector<Verdict> verdicts;
  std::vector<Finding> findings;
};

/// Guards, weight gates and the profile's gates, in this order.
Judgement judge(const JudgeInputs& inputs, const GateProfile& profile);

/// The weight gates alone, for a run without a comparison (`mergegauge audit`).
std::vector<Verdict> judge_weights(const AuditResult& audit, const WeightLimits& limits);

}  // namespace mg
