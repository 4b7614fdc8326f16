// Runs the built program as a user would.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace mg {

struct RunResult {
  int exit_code = -1;  // 128 + signal when it was killed
  std::string out;
  std::string err;  // with a terminal: empty, all is in `out`
};

struct RunOptions {
  std::map<std::string, std::string> environment = {};  // added to the caller's
  std::string out_path = {};                            // write stdout there instead
  std::string input = {};                               // stdin, at most what a pipe holds (64 KiB)
  bool terminal = false;                                // stdin, stdout and stderr are a terminal
};

RunResult run_mergegauge(const std::vector<std::string>& arguments, const RunOptions& options = {});

}  // namespace mg
