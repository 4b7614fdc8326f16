// One screen for a pull request or a job's summary.  Tested in tests/reports/views_test.cc.
#pragma once

#include <string>
#include <string_view>

#include "reports/view.h"

namespace mg {

/// Verdict, reason, the numbers that matter, gates that did not pass, errors and warnings, counts,
/// digest, command.  At most about 40 lines.
std::string render_markdown(const ReportView& view);

/// Text that Markdown shows as it is, in a paragraph or a table's cell: no markup, no mention, no
/// line break.
std::string markdown_text(std::string_view text);

}  // namespace mg
