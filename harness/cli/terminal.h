// What the program writes to: a terminal or a file, with or without colour.  Not for: what it says.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace mg {

struct Terminal {
  bool colour = false;    // standard output is a terminal, NO_COLOR is not set, TERM is not "dumb"
  bool progress = false;  // standard error is a terminal
  int width = 100;        // columns of standard output
  bool quiet = false;

  static Terminal detect();

  // Text for standard output, styled where it takes colour.
  std::string bold(std::string_view text) const { return styled("1", text); }
  std::string dim(std::string_view text) const { return styled("2", text); }
  std::string red(std::string_view text) const { return styled("31", text); }
  std::string green(std::string_view text) const { return styled("32", text); }
  std::string yellow(std::string_view text) const { return styled("33", text); }
  std::string styled(std::string_view code, std::string_view text) const;
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

  /// What is drawn, cut to `width` columns.
  static std::string line(const std::string& label, double done, double elapsed_seconds, int width);

 private:
  using Clock = std::chrono::steady_clock;
  bool enabled_;
  int width_;
  std::string label_;
  Clock::time_point begin_;
  Clock::time_point drawn_;
  bool visible_ = false;
};

}  // namespace mg
