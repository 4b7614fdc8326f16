#include "harness/io/problem_list.h"

#include <fmt/format.h>

namespace mg {

std::string list_problems(std::span<const std::string> problems, std::size_t limit) {
  if (problems.size() == 1) {
    return problems.front();
  }
  std::string text = fmt::format("{} problems", problems.size());
  for (std::size_t i = 0; i < problems.size() && i < limit; ++i) {
    text += "\n    " + problems[i];
  }
  if (problems.size() > limit) {
    text += fmt::format("\n    and {} more", problems.size() - limit);
  }
  return text;
}

}  // namespace mg
