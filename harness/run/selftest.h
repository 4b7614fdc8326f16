// Proves that the checks are alive: plants the standard damage into a merge that is right and looks
// whether each is caught, by the very check that judges releases.  Nothing of the model is written:
// weights are altered as they are read, files stand in a folder of links.
// Tested in tests/run/selftest_test.cc.
#pragma once

#include "harness/run/check.h"

namespace mg {

/// The report of the check on the undamaged merge, with the table of detections
/// (Report::selftest).  A damage that was missed is an error-level finding "selftest.missed", and a
/// merge that does not pass undamaged keeps its own status.  `options.damage` must be kNone.
Report run_selftest(const CheckOptions& options, ThreadPool& pool, const CheckProgress& progress);

/// Which rules and gates `damaged` sets off and `right` does not; the outcome is what `expected`
/// and `fails` ask for.  Public for tests.
Detection detect(const DamageName& damage, const Report& right, const Report& damaged);

}  // namespace mg
