// What went wrong between a quantised base, the 16-bit weights behind it and a merge
// (docs/reference/failures.md, F28 and F29).  Tested in tests/audit/quantised_test.cc.
#pragma once

#include <optional>

#include "harness/audit/diagnosis.h"

namespace mg {

/// Key of the stories about a merge into the 16-bit weights that a base given in codes alone was
/// made from: right as far as it goes, and not to be proved without those weights.
inline constexpr const char* kOriginalBase = "original";

/// Merged is itself stored as codes (F29): how much of the delta is left.
std::optional<Diagnosis> requantised_story(const TargetCase& c);

/// Merged minus the delta are numbers that would be stored as the base's codes: it was merged into
/// the 16-bit weights behind them (F28).
std::optional<Diagnosis> original_base_story(const TargetCase& c);
/// The same of a tensor without a delta.
std::optional<Diagnosis> original_base_bytes(const BytesCase& c);

}  // namespace mg
