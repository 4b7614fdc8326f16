// The conformance suite of backends: every operation over dtypes and awkward shapes, with guards
// round every matrix and planted NaN and infinities, against the oracle within kernels/contract's
// tolerances. Run by tests/kernels/conformance_test.cc for every backend and, on a device, by
// `mergegauge devicetest`.
//
// Not for: what a backend promises beyond its contract (bit equality over threads and splits:
// tests/kernels/determinism_test.cc).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/contract/compare.h"

namespace mg::contract {

/// The backend under test and two oracles: one of the same arithmetic, one exact (for sums of
/// magnitudes).
struct Parties {
  Backend& subject;
  Backend& oracle;
  Backend& exact;
};

struct CaseResult {
  Comparison comparison;
  std::string failure;  // empty: conforms
};

struct ConformanceCase {
  std::string operation;  // "linear"
  std::string name;       // "F16 T3 K300 M17 bias, NaN planted"
  std::uint64_t seed = 0;
  std::function<CaseResult(const Parties& parties)> run;
};

/// All cases, in a fixed order with fixed seeds.
std::vector<ConformanceCase> conformance_cases();

}  // namespace mg::contract
