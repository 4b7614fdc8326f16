#include "harness/lint/rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace mg::lint {

std::vector<std::string> catalogue_ids(std::string_view catalogue) {
  std::vector<std::string> ids;
  while (!catalogue.empty()) {
    const std::size_t end = std::min(catalogue.find(' '), catalogue.size());
    ids.emplace_back(catalogue.substr(0, end));
    catalogue.remove_prefix(std::min(end + 1, catalogue.size()));
  }
  return ids;
}

std::string listed(const std::vector<std::string>& names, std::size_t most) {
  const std::size_t shown = std::min(most, names.size());
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
  if (shown < names.size()) {
    text += fmt::format(" and {} more", names.size() - shown);
  }
  return text;
}

void Reporter::add(Severity severity, Details details) {
  LintFinding found;
  found.finding = {
      .rule = std::string(rule_.id),
      .catalogue = catalogue_ids(rule_.catalogue),
      .severity = severity,
      .command = std::string(command_),
      .subject = std::move(details.subject),
      .message = std::move(details.message),
      .expected = std::move(details.expected),
      .actual = std::move(details.actual),
      .fix = Fix{.automatic = !details.edits.empty(),
                 .what = details.fix.empty() ? std::string(rule_.fix) : std::move(details.fix)}};
  found.edits = std::move(details.edits);
  found.unreadable = rule_.unreadable;
  out_.push_back(std::move(found));
}

}  // namespace mg::lint
