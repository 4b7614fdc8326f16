// The audit as one screen of text: the verdict first, then what it rests on, then the findings.
#pragma once

#include <string>

#include "harness/cli/terminal.h"
#include "harness/result/report.h"

namespace mg {

std::string audit_text(const Report& report, const Terminal& terminal);

}  // namespace mg
