// What the commands that end in a report do with it, and the bar they show before.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/cli/command.h"
#include "harness/result/report.h"

namespace mg {

/// One progress bar after another, as a run tells its phases (CheckProgress).
class PhaseBar {
 public:
  explicit PhaseBar(const Terminal& terminal) : terminal_(terminal) {}
  void update(const std::string& phase, double done);
  void finish() { bar_.reset(); }

 private:
  const Terminal& terminal_;
  std::string phase_;
  std::optional<ProgressBar> bar_;
};

struct ReportTargets {
  std::filesystem::path out;  // folder of the reports; empty: none
  std::string json;           // a file, - for standard output; empty: none
};

/// Writes the folder, what `others` writes (it adds the names), the JSON; prints the report unless
/// its JSON goes to standard output.  Throws Error "output.*".
void give_report(const Report& report, const ReportTargets& targets, const Terminal& terminal,
                 const std::function<void(std::vector<std::string>& files)>& others = {});

}  // namespace mg
