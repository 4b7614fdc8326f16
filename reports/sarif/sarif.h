// Findings for code-scanning views: SARIF 2.1.0 (OASIS).  Tested in tests/reports/views_test.cc.
#pragma once

#include <string>

#include "reports/view.h"

namespace mg {

/// One run with a rule for each rule that found something and a result for each finding.  A finding
/// whose subject begins with a file's name stands at that file of the merged folder; every finding
/// has its subject as a logical location.
std::string render_sarif(const ReportView& view);

}  // namespace mg
