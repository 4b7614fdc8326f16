// Writes every sample report in every format into a folder: for looking at them, and for the
// browser test.
#include <filesystem>
#include <string>

#include "reports/atomic_file.h"
#include "reports/json/report_json.h"
#include "reports/terminal/terminal.h"
#include "tests/reports/sample_reports.h"

int main(int argc, char** argv) {
  const std::filesystem::path folder = argc > 1 ? argv[1] : ".";
  for (const auto& [name, report] : mg::samples::all()) {
    mg::write_file_atomically(folder / (name + ".json"), mg::write_report_json(report));
    mg::write_file_atomically(folder / (name + ".txt"),
                              mg::render_terminal(report, {.colour = false, .width = 100},
                                                  {"mergegauge-report/report.html"}));
  }
  return 0;
}
