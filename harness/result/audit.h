// What the weight audit found: tensor by tensor and as a whole.  Filled by harness/audit, written
// by reports/. Formulas of c, rho and the remerge forms: docs/reference/failures.md section 1.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/result/verdict.h"

namespace mg {

/// What the adapter does to a tensor, or why it was not compared.
enum class TensorClass {
  kTarget,      // carries a low-rank delta
  kUntouched,   // must equal the base byte for byte
  kReplaced,    // the adapter holds the whole tensor or whole rows (modules_to_save, trainable
                // tokens)
  kMissing,     // in base or adapter, not in merged
  kExtra,       // in merged only
  kRenamed,     // found under another name
  kNotChecked,  // nothing could be said about it; the run is at best inconclusive
};

struct TensorAudit {
  std::string name;
  TensorClass tensor_class = TensorClass::kNotChecked;  // JSON "class"
  std::optional<double> c;          // slope of (merged - base) on the expected delta
  std::optional<double> rho;        // residual in units of the delta
  std::optional<double> c_remerge;  // the same against the rounded re-merge (storage-proof)
  std::optional<double> rho_remerge;
  std::string recipe;  // which merge arithmetic explains the bytes; empty where none was sought
  std::int64_t elements = 0;
  std::int64_t differing = 0;  // elements that differ from what was expected
  std::optional<std::int64_t> max_ulp;
  std::optional<double>
      unchanged_share;  // elements whose delta is not zero but whose value equals the base
  std::int64_t non_finite = 0;
  // Multiples of the adapter's scale that every element allows under one rounding; set where the
  // two do not cross.
  std::optional<double> scale_low;
  std::optional<double> scale_high;
  // Elements by |merged - re-merge| in units of max(ulp(re-merge), ulp(delta)): 0, <= 1, 2, 4, 8,
  // 16, 64, more; empty where there is no delta.
  std::vector<std::int64_t> ulp_histogram;
  std::optional<double> max_abs;  // largest finite magnitude in merged
  std::int64_t subnormal = 0;     // elements of merged below the dtype's normal range, zeros aside
  GateStatus verdict = GateStatus::kNotRun;
  std::string note;  // one sentence where the verdict is not a pass: what it looks like
};

struct RecipeException {
  std::string tensor;
  std::string name;
};

struct MergeRecipe {
  std::string name;             // "one-rounding", "delta-in-base-dtype", ...
  std::optional<double> share;  // of the target elements that it explains
  std::vector<RecipeException> exceptions;
};

struct AuditSummary {
  std::int64_t target = 0;
  std::int64_t untouched = 0;
  std::int64_t replaced = 0;
  std::int64_t missing = 0;
  std::int64_t extra = 0;
  std::int64_t renamed = 0;
  std::int64_t not_checked = 0;
};

struct AuditResult {
  MergeRecipe recipe;
  AuditSummary summary;
  std::vector<TensorAudit> tensors;
};

/// "target", "untouched", "replaced", "missing", "extra", "renamed", "not_checked".
std::string_view tensor_class_name(TensorClass tensor_class);
std::optional<TensorClass> tensor_class_from_name(std::string_view name);

}  // namespace mg
