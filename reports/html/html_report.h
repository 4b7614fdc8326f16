// The page for people: one file that needs no network and no script, made from report.json alone.
// With a script (its digest and the style's stand in the content-security policy) tables sort and
// filter.  Not for: what the words and numbers are (headline.h, format.h, labels.h).
// Tested in tests/reports/html_test.cc and, in a browser, by tests/reports/browser.
#pragma once

#include <string>

#include "reports/view.h"

namespace mg {

/// The whole page.  Text from files and prompts is shown as text, whatever it holds.
std::string render_html(const ReportView& view);

}  // namespace mg
