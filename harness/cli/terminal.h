// What the program writes to: a terminal or a file, with or without colour.  Not for: what it says.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace mg {

struct Terminal {
  bool colour = false;    // standard output is a terminal and NO_COLOR is not set
  bool progress = false;  // standard error is a terminal
  int width = 100;        // columns of standard output
  bool quiet = false;

  static Terminal detect();
};

/// A bar with the time left, on standard error; appears when the work has taken two seconds, only
/// on a terminal, and wipes itself out at the end.
class ProgressBar {
 public:
  ProgressBar(const Terminal& terminal, std::string label);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Share of the work done, 0 to 1.  Called from one thread at a time.
  void update(double done);

 private:
  using Clock = std::chrono::steady_clock;
  bool enabled_;
  std::string label_;
  Clock::time_point begin_;
  Clock::time_point drawn_;
  bool visible_ = false;
};

}  // namespace mg
