// The verdict as one screen of text: what `mergegauge check` prints.  Not for: writing it anywhere
// (harness/cli). Tested with whole screens in tests/reports/terminal_test.cc.
#pragma once

#include <string>
#include <vector>

#include "harness/result/report.h"

namespace mg {

struct TerminalStyle {
  bool colour = false;  // ANSI escapes
  int width = 100;      // columns; lines stay within max(width, 40)
};

/// Verdict, reason and the numbers that matter first; then gates (at most twelve), findings (errors
/// and warnings, at most six), `files` (what was written, the one to open first) and the cost of
/// the run.  Ends with a line break. Names from files are shown with their control characters as
/// escapes.
std::string render_terminal(const Report& report, const TerminalStyle& style,
                            const std::vector<std::string>& files = {});

}  // namespace mg
