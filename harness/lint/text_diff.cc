#include "harness/lint/text_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace mg::lint {
namespace {

constexpr std::size_t kContext = 3;
// The table of the longest common subsequence has rows x columns entries; past this the middle is
// shown as one replacement.
constexpr std::size_t kMostCells = 4'000'000;

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

struct Line {
  char mark;  // ' ', '-', '+'
  std::string_view text;
};

using Lines = std::vector<std::string_view>;

void add_middle(const Lines& a, const Lines& b, std::vector<Line>& out) {
  const std::size_t rows = a.size() + 1;
  const std::size_t columns = b.size() + 1;
  if (rows * columns > kMostCells) {
    for (const std::string_view line : a) {
      out.push_back({'-', line});
    }
    for (const std::string_view line : b) {
      out.push_back({'+', line});
    }
    return;
  }
  std::vector<unsigned> common(rows * columns, 0);
  for (std::size_t i = a.size(); i-- > 0;) {
    for (std::size_t j = b.size(); j-- > 0;) {
      common[i * columns + j] =
          a[i] == b[j] ? common[(i + 1) * columns + j + 1] + 1
                       : std::max(common[(i + 1) * columns + j], common[i * columns + j + 1]);
    }
  }
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < a.size() || j < b.size()) {
    if (i < a.size() && j < b.size() && a[i] == b[j]) {
      out.push_back({' ', a[i]});
      ++i;
      ++j;
    } else if (j == b.size() ||
               (i < a.size() && common[(i + 1) * columns + j] >= common[i * columns + j + 1])) {
      out.push_back({'-', a[i++]});
    } else {
      out.push_back({'+', b[j++]});
    }
  }
}

std::vector<Line> align(const Lines& a, const Lines& b) {
  std::size_t head = 0;
  while (head < a.size() && head < b.size() && a[head] == b[head]) {
    ++head;
  }
  std::size_t tail = 0;
  while (tail + head < a.size() && tail + head < b.size() &&
         a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) {
    ++tail;
  }
  const auto part = [](const Lines& lines, std::size_t from, std::size_t to) {
    return Lines(lines.begin() + static_cast<std::ptrdiff_t>(from),
                 lines.begin() + static_cast<std::ptrdiff_t>(to));
  };
  std::vector<Line> out;
  for (std::size_t i = 0; i < head; ++i) {
    out.push_back({' ', a[i]});
  }
  add_middle(part(a, head, a.size() - tail), part(b, head, b.size() - tail), out);
  for (std::size_t i = a.size() - tail; i < a.size(); ++i) {
    out.push_back({' ', a[i]});
  }
  return out;
}

}  // namespace

std::string unified_diff(std::string_view before, std::string_view after, std::string_view name) {
  if (before == after) {
    return {};
  }
  const std::vector<Line> lines = align(lines_of(before), lines_of(after));
  std::string text = fmt::format("--- {0}\n+++ {0}\n", name);
  std::size_t old_line = 1;
  std::size_t new_line = 1;
  std::size_t at = 0;
  const auto step = [&](std::size_t to) {
    for (; at < to; ++at) {
      old_line += lines[at].mark != '+' ? 1 : 0;
      new_line += lines[at].mark != '-' ? 1 : 0;
    }
  };
  while (true) {
    std::size_t change = at;
    while (change < lines.size() && lines[change].mark == ' ') {
      ++change;
    }
    if (change == lines.size()) {
      return text;
    }
    step(std::max(at, change < kContext ? 0 : change - kContext));
    // The hunk goes on while the next change lies within twice the context.
    std::size_t end = change;
    for (std::size_t i = change; i < lines.size() && i <= end + 2 * kContext; ++i) {
      end = lines[i].mark != ' ' ? i : end;
    }
    end = std::min(lines.size(), end + kContext + 1);
    std::size_t old_count = 0;
    std::size_t new_count = 0;
    std::string body;
    for (std::size_t i = at; i < end; ++i) {
      old_count += lines[i].mark != '+' ? 1 : 0;
      new_count += lines[i].mark != '-' ? 1 : 0;
      body += fmt::format("{}{}\n", lines[i].mark, lines[i].text);
    }
    text += fmt::format("@@ -{},{} +{},{} @@\n{}", old_line, old_count, new_line, new_count, body);
    step(end);
  }
}

}  // namespace mg::lint
