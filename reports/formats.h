// The views of a report.json: which there are, and the folder `check` writes.  A view is a row in
// formats.cc; the program's `report` command has an option for each.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reports/view.h"

namespace mg {

struct ReportFormat {
  std::string_view name;  // the option of `mergegauge report`
  std::string_view file;  // what it is called beside report.json; empty: only on request
  std::string_view what;  // one line of help
  std::string (*render)(const ReportView& view);
};
std::span<const ReportFormat> report_formats();

/// Writes report.json and its views into `folder` and returns the files, the one to open first at
/// the front.  The views are rendered from the JSON's text, not from `report`, so that `mergegauge
/// report` makes the same bytes again.  Throws Error "output.cannot-write".
std::vector<std::string> write_report_folder(const std::filesystem::path& folder,
                                             const Report& report);

}  // namespace mg
