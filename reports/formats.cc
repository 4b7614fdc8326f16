#include "reports/formats.h"

#include <array>

#include "reports/atomic_file.h"
#include "reports/csv/csv.h"
#include "reports/digest.h"
#include "reports/html/html_report.h"
#include "reports/json/report_json.h"
#include "reports/junit/junit.h"
#include "reports/markdown/markdown.h"
#include "reports/sarif/sarif.h"

namespace mg {
namespace {

constexpr std::array kFormats{
    ReportFormat{"html", "report.html", "the page for people: one file, no network", render_html},
    ReportFormat{"junit", "junit.xml", "JUnit XML for CI systems", render_junit},
    ReportFormat{"markdown", "summary.md", "one screen for a pull request or a job's summary",
                 render_markdown},
    ReportFormat{"csv", "", "every metric of every group of rows, for a spreadsheet", render_csv},
    ReportFormat{"sarif", "", "findings as SARIF 2.1.0, for code-scanning views", render_sarif},
};

}  // namespace

std::span<const ReportFormat> report_formats() {
  return kFormats;
}

std::vector<std::string> write_report_folder(const std::filesystem::path& folder,
                                             const Report& report) {
  const std::filesystem::path json_file = folder / "report.json";
  const std::string json = write_report_json(report);
  write_file_atomically(json_file, json);
  const Report stored = read_report_json(json, json_file.string());
  const ReportView view{stored, text_digest(json)};
  std::vector<std::string> files;
  for (const ReportFormat& format : kFormats) {
    if (!format.file.empty()) {
      write_file_atomically(folder / format.file, format.render(view));
      files.push_back((folder / format.file).string());
    }
  }
  files.push_back(json_file.string());
  return files;
}

}  // namespace mg
