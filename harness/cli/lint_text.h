// The findings of lint as text: the verdict first, then each finding with its repair.
#pragma once

#include <string>

#include "harness/cli/terminal.h"
#include "harness/lint/fix.h"
#include "harness/result/report.h"

namespace mg {

std::string lint_text(const Report& report, const Terminal& terminal);

/// The repairs, as a diff where a text file changes.
std::string fix_text(const lint::FixPlan& plan, bool dry_run, const Terminal& terminal);

/// One finding as `lint` prints it; notes on one line.
std::string finding_text(const Finding& finding, const Terminal& terminal);

}  // namespace mg
