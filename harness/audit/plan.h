// Pairs every tensor of merged with what it should hold: by stored name, then by canonical name;
// says which class it belongs to and what of the adapter reached nothing.  Headers only, no tensor
// data. Not for: arithmetic (measure.h, compare.h).  Tested in tests/audit.
#pragma once

#include <string>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"
#include "harness/model/attach.h"
#include "harness/result/finding.h"

namespace mg {

enum class ItemKind {
  kTarget,        // base + D
  kBias,          // base + s*b of lora_bias
  kUntouched,     // base, or a stored dtype conversion of it
  kReplaced,      // the adapter's tensor
  kReplacedRows,  // the adapter's rows in the base's tensor
  kTiedHead,      // a stored copy of merged's own tied embedding
  kUntiedHead,    // the head of a base that ties it, stored apart: the base's embedding
  kMissing,       // in base or adapter only
  kExcused,       // in base only, and rightly so (a tied head, a buffer that loaders rebuild)
  kExtra,         // in merged only
  kMismatch,      // another shape than the base's
  kNotChecked,    // nothing can be said; see `reason`
};

struct AuditItem {
  ItemKind kind = ItemKind::kNotChecked;
  std::string name;  // merged's, or the base's where merged has none
  const StoredTensor* base = nullptr;
  const StoredTensor* merged = nullptr;
  const Checkpoint* base_owner = nullptr;
  const Checkpoint* merged_owner = nullptr;
  const AttachedDelta* delta = nullptr;
  const AdapterReplacement* replacement = nullptr;
  TensorView start;      // W of a target: the base's tensor, or the copy the adapter holds of it
  bool renamed = false;  // found under another name than the base's
  std::string reason;    // why it is not checked, missing, excused or a mismatch

  /// What keeps the bytes of `base`, `merged` and `start` readable where they are stored as codes.
  std::vector<DecodedHold> hold() const;
};

struct AuditPlan {
  std::vector<AuditItem> items;  // sorted by name
  bool tied = false;             // merged ties its head to its embedding
};

/// Throws Error "audit.quantised" where base or merged holds quantised weights that were not opened
/// decoded (OpenOptions::decode), or are of a format not known.
AuditPlan make_plan(const Checkpoint& base, const Checkpoint& merged,
                    const AttachedAdapter& attached);

/// Whether config.json (root or text_config) ties the head; `fallback` where it does not say.
bool ties_embeddings(const Checkpoint& checkpoint, bool fallback);

}  // namespace mg
