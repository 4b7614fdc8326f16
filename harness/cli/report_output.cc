#include "harness/cli/report_output.h"

#include <fmt/format.h>

#include "reports/atomic_file.h"
#include "reports/formats.h"
#include "reports/json/report_json.h"
#include "reports/terminal/terminal.h"

namespace mg {

void PhaseBar::update(const std::string& phase, double done) {
  if (phase != phase_) {
    phase_ = phase;
    bar_.emplace(terminal_, phase);
  }
  bar_->update(done);
}

void give_report(const Report& report, const ReportTargets& targets, const Terminal& terminal,
                 const std::function<void(std::vector<std::string>& files)>& others) {
  std::vector<std::string> files;  // the one to open first at the front
  if (!targets.out.empty()) {
    files = write_report_folder(targets.out, report);
  }
  if (others) {
    others(files);
  }
  if (targets.json == "-") {
    fmt::print("{}", write_report_json(report));
    return;
  }
  if (!targets.json.empty()) {
    write_file_atomically(targets.json, write_report_json(report));
    files.push_back(targets.json);
  }
  fmt::print("{}",
             render_terminal(report, {.colour = terminal.colour, .width = terminal.width}, files));
}

}  // namespace mg
