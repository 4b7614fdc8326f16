#include "harness/cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace mg {

Terminal Terminal::detect() {
  Terminal terminal;
  const char* no_colour = std::getenv("NO_COLOR");  // https://no-color.org
  const bool wanted = no_colour == nullptr || *no_colour == '\0';
  terminal.colour = isatty(STDOUT_FILENO) == 1 && wanted;
  terminal.progress = isatty(STDERR_FILENO) == 1;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    terminal.width = size.ws_col;
  }
  return terminal;
}

ProgressBar::ProgressBar(const Terminal& terminal, std::string label)
    : enabled_(terminal.progress && !terminal.quiet),
      label_(std::move(label)),
      begin_(Clock::now()),
      drawn_(begin_) {}

ProgressBar::~ProgressBar() {
  if (visible_) {
    std::fputs("\r\x1b[K", stderr);
  }
}

void ProgressBar::update(double done) {
  constexpr auto kPatience = std::chrono::seconds(2);
  constexpr auto kBetween = std::chrono::milliseconds(100);
  const Clock::time_point now = Clock::now();
  if (!enabled_ || now - begin_ < kPatience || now - drawn_ < kBetween) {
    return;
  }
  drawn_ = now;
  visible_ = true;
  constexpr int kCells = 24;
  const double share = std::clamp(done, 0.0, 1.0);
  const int filled = static_cast<int>(share * kCells);
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  const std::string left =
      share > 0.02 ? fmt::format("{:.0f} s left", std::ceil(elapsed / share - elapsed)) : "";
  const std::string bar = std::string(static_cast<std::size_t>(filled), '#') +
                          std::string(static_cast<std::size_t>(kCells - filled), '.');
  fmt::print(stderr, "\r{} [{}] {:3.0f} %  {}\x1b[K", label_, bar, 100.0 * share, left);
  std::fflush(stderr);
}

}  // namespace mg
