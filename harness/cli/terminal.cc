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
  const char* kind = std::getenv("TERM");
  const bool dumb = kind != nullptr && std::string_view(kind) == "dumb";
  terminal.colour = isatty(STDOUT_FILENO) == 1 && wanted && !dumb;
  terminal.progress = isatty(STDERR_FILENO) == 1;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    terminal.width = size.ws_col;
  }
  return terminal;
}

std::string Terminal::styled(std::string_view code, std::string_view text) const {
  return colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

ProgressBar::ProgressBar(const Terminal& terminal, std::string label)
    : enabled_(terminal.progress && !terminal.quiet),
      width_(terminal.width),
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
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  fmt::print(stderr, "\r{}\x1b[K", line(label_, done, elapsed, width_ - 1));
  std::fflush(stderr);
}

std::string ProgressBar::line(const std::string& label, double done, double elapsed_seconds,
                              int width) {
  constexpr int kCells = 24;
  const double share = std::clamp(done, 0.0, 1.0);
  const int filled = static_cast<int>(share * kCells);
  const std::string left =
      share > 0.02
          ? fmt::format("  {:.0f} s left", std::ceil(elapsed_seconds / share - elapsed_seconds))
          : "";
  const std::string text = fmt::format("{} [{:#<{}}{:.<{}}] {:3.0f} %{}", label, "", filled, "",
                                       kCells - filled, 100.0 * share, left);
  return text.substr(0, static_cast<std::size_t>(std::max(1, width)));
}

}  // namespace mg
