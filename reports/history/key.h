// What two runs must share before their numbers may be held against each other.
// Not for: judging the numbers (baseline.h, steps.h).  Tested in tests/reports/history_test.cc.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/result/report.h"

namespace mg {

/// Fields by name, in a fixed order: base, adapter, suites, stored dtype, arithmetic, backend,
/// version.  The merged checkpoint is not among them: it is what changes from run to run.
struct ComparabilityKey {
  std::vector<std::pair<std::string, std::string>> fields;
  bool operator==(const ComparabilityKey&) const = default;
};

/// Throws Error "history.no-digests" where the report has no digests of base, adapter or prompts
/// (a run with --no-digests, or one that broke off).
ComparabilityKey comparability_key(const Report& report);

/// The key as one short text, equal exactly where the keys are equal.
std::string key_digest(const ComparabilityKey& key);

struct FieldDifference {
  std::string field;
  std::string here;
  std::string there;
};
/// The first field that differs, or nothing.
std::optional<FieldDifference> first_difference(const ComparabilityKey& here,
                                                const ComparabilityKey& there);

}  // namespace mg
