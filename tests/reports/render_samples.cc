// Writes every sample report in every format into a folder, or one report.json given as the second
// argument: for looking at them, and for the browser test.
#include <filesystem>
#include <string>

#include "reports/atomic_file.h"
#include "reports/digest.h"
#include "reports/html/html_report.h"
#include "reports/json/report_json.h"
#include "reports/terminal/terminal.h"
#include "tests/reports/sample_reports.h"

namespace {

void render(const std::filesystem::path& folder, const std::string& name,
            const mg::Report& report) {
  const std::string json = mg::write_report_json(report);
  mg::write_file_atomically(folder / (name + ".json"), json);
  mg::write_file_atomically(folder / (name + ".txt"),
                            mg::render_terminal(report, {.colour = false, .width = 100},
                                                {"mergegauge-report/report.html"}));
  mg::write_file_atomically(folder / (name + ".html"),
                            mg::render_html({report, mg::text_digest(json)}));
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path folder = argc > 1 ? argv[1] : ".";
  if (argc > 2) {
    const std::filesystem::path file = argv[2];
    render(folder, file.parent_path().filename().string(), mg::read_report_file(file));
    return 0;
  }
  for (const auto& [name, make] : mg::samples::all()) {
    const mg::Report report = make();
    render(folder, name, report);
  }
  return 0;
}
