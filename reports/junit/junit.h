// JUnit XML for CI systems.  There is no official schema; what is written satisfies the one of
// Jenkins' xUnit plugin (tests/reports/junit-10.xsd).  GitLab shows only names and the text inside
// failures, so that everything needed stands there.
// Tested in tests/reports/views_test.cc.
#pragma once

#include <string>

#include "reports/view.h"

namespace mg {

/// A suite for the verdict and one for each command that ran ("lint", "audit", "compare", "bench");
/// in them a case for each gate and for each rule with findings.  What lowers the verdict is a
/// failure (an error where the run broke off); an advisory gate that did not pass is skipped.  So
/// there are failures or errors exactly where the exit code is not 0.
std::string render_junit(const ReportView& view);

}  // namespace mg
