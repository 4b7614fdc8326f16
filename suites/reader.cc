#include "suites/reader.h"

#include <fmt/format.h>

#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <system_error>
#include <vector>

#include "kernels/core/error.h"
#include "suites/plain.h"
#include "suites/schema.h"
#include "suites/text_match.h"

namespace mg {
namespace {

/// "; also lines 4, 9 and 12 more" for the problems of the same kind after the first.
std::string other_lines(const std::vector<SchemaProblem>& problems) {
  constexpr std::size_t kShown = 5;
  std::vector<std::int64_t> lines;
  for (const SchemaProblem& problem : problems) {
    const bool same =
        problem.code == problems.front().code && problem.what == problems.front().what;
    if (same && problem.line != problems.front().line &&
        (lines.empty() || lines.back() != problem.line)) {
      lines.push_back(problem.line);
    }
  }
  if (lines.empty()) {
    return "";
  }
  std::string text = lines.size() == 1 ? "; also line " : "; also lines ";
  for (std::size_t i = 0; i < lines.size() && i < kShown; ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(lines[i]);
  }
  if (lines.size() > kShown) {
    text += fmt::format(" and {} more", lines.size() - kShown);
  }
  return text;
}

[[noreturn]] void throw_problems(const std::vector<SchemaProblem>& problems,
                                 const std::filesystem::path& path) {
  const SchemaProblem& first = problems.front();
  throw Error(
      {.code = "suite." + first.code,
       .what = first.what,
       .where = fmt::format("{}, line {}{}", path.string(), first.line, other_lines(problems)),
       .expected = first.expected,
       .actual = first.actual,
       .hint = first.hint});
}

void check_unique_ids(const std::vector<SuitePrompt>& prompts,
                      std::vector<SchemaProblem>& problems) {
  std::map<std::string, std::int64_t> first_line;
  for (const SuitePrompt& prompt : prompts) {
    const auto [found, inserted] = first_line.emplace(prompt.id, prompt.line);
    if (!inserted) {
      problems.push_back(
          {.code = "duplicate-id",
           .line = prompt.line,
           .what = "two prompts have the same id",
           .expected = "each id once",
           .actual = fmt::format("\"{}\", already on line {}", prompt.id, found->second),
           .hint = "results are stored under the id"});
    }
  }
}

}  // namespace

Suite parse_suite(std::string_view text, std::string_view name, const std::filesystem::path& path) {
  Suite suite{.name = std::string(name), .path = path, .digest = suite_digest(text), .prompts = {}};
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    text.remove_prefix(kByteOrderMark.size());
  }
  std::vector<SchemaProblem> problems;
  const std::filesystem::path folder = path.parent_path();
  for (std::int64_t line = 1; !text.empty(); ++line) {
    const std::size_t end = text.find('\n');
    const std::string_view content = trimmed(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (content.empty()) {
      continue;
    }
    if (auto prompt = parse_prompt(content, line, folder, problems)) {
      suite.prompts.push_back(std::move(*prompt));
    }
  }
  if (problems.empty()) {
    check_unique_ids(suite.prompts, problems);
  }
  if (!problems.empty()) {
    throw_problems(problems, path);
  }
  if (suite.prompts.empty()) {
    throw Error({.code = "suite.empty",
                 .what = "the suite has no prompt",
                 .where = path.string(),
                 .expected = "at least one line {\"id\": ..., \"input_ids\": [...]}",
                 .actual = "none",
                 .hint = ""});
  }
  return suite;
}

Suite read_suite_file(const std::filesystem::path& path, std::string_view column) {
  std::error_code code;
  const bool regular = std::filesystem::is_regular_file(path, code);
  std::ifstream file(path, std::ios::binary);
  std::string text;
  if (regular && file) {
    text.resize(std::filesystem::file_size(path, code));
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
  }
  if (!regular || code || !file) {
    throw Error({.code = "suite.unreadable",
                 .what = "the suite's file cannot be read",
                 .where = path.string(),
                 .expected = "a readable file",
                 .actual = regular ? "reading failed" : "no regular file there",
                 .hint = ""});
  }
  const std::string name = path.stem().string();
  const std::filesystem::path extension = path.extension();
  if (extension == ".csv") {
    return parse_csv_suite(text, name, path, column);
  }
  if (extension == ".txt" || extension == ".md") {
    return parse_text_suite(text, name, path);
  }
  return parse_suite(text, name, path);
}

}  // namespace mg
