#include "suites/plain.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/error.h"

namespace mg {
namespace {

std::string_view without_byte_order_mark(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  return text.starts_with(kByteOrderMark) ? text.substr(kByteOrderMark.size()) : text;
}

void add_prompt(Suite& suite, std::string id, std::string text, std::int64_t line) {
  SuitePrompt prompt;
  prompt.id = std::move(id);
  prompt.text = std::move(text);
  prompt.line = line;
  suite.prompts.push_back(std::move(prompt));
}

void require_prompts(const Suite& suite, std::string expected) {
  if (suite.prompts.empty()) {
    throw Error({.code = "suite.empty",
                 .what = "the suite has no prompt",
                 .where = suite.path.string(),
                 .expected = std::move(expected),
                 .actual = "none",
                 .hint = ""});
  }
}

/// Reads a CSV table record by record.
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::filesystem::path& path) : text_(text), path_(path) {}

  bool at_end() const { return at_ >= text_.size(); }
  std::int64_t line() const { return line_; }

  std::vector<std::string> record() {
    std::vector<std::string> fields;
    for (bool more = true; more;) {
      fields.push_back(field());
      more = take(',');
    }
    take('\r');
    if (!at_end() && !take('\n')) {
      fail("a quoted field goes on after its closing quote");
    }
    ++line_;
    return fields;
  }

 private:
  bool take(char c) {
    const bool there = !at_end() && text_[at_] == c;
    at_ += there ? 1 : 0;
    return there;
  }

  std::string field() {
    if (!take('"')) {
      const std::size_t end = std::min(text_.find_first_of(",\r\n", at_), text_.size());
      std::string value(text_.substr(at_, end - at_));
      at_ = end;
      return value;
    }
    std::string value;
    while (true) {
      const std::size_t quote = text_.find('"', at_);
      if (quote == std::string_view::npos) {
        fail("a quoted field is not closed");
      }
      value += text_.substr(at_, quote - at_);
      at_ = quote + 1;
      if (!take('"')) {
        break;
      }
      value += '"';
    }
    line_ += std::count(value.begin(), value.end(), '\n');
    return value;
  }

  [[noreturn]] void fail(std::string what) const {
    throw Error({.code = "suite.csv",
                 .what = std::move(what),
                 .where = fmt::format("{}, line {}", path_.string(), line_),
                 .expected = "comma-separated fields; quotes around fields that hold a comma, a "
                             "quote or a line break",
                 .actual = "",
                 .hint = ""});
  }

  std::string_view text_;
  const std::filesystem::path& path_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1;
};

std::size_t column_index(const std::vector<std::string>& names, std::string_view column,
                         const std::filesystem::path& path) {
  if (column.empty() && names.size() == 1) {
    return 0;
  }
  const auto found = std::find(names.begin(), names.end(), column);
  if (column.empty() || found == names.end()) {
    throw Error({.code = "suite.no-column",
                 .what = column.empty() ? "the table has several columns and none was named"
                                        : "the table has no such column",
                 .where = path.string(),
                 .expected = fmt::format("one of: {}", fmt::join(names, ", ")),
                 .actual = std::string(column),
                 .hint = fmt::format("--suite {}:COLUMN", path.string())});
  }
  return static_cast<std::size_t>(found - names.begin());
}

}  // namespace

Suite parse_text_suite(std::string_view text, std::string_view name,
                       const std::filesystem::path& path) {
  Suite suite{.name = std::string(name), .path = path, .digest = suite_digest(text), .prompts = {}};
  text = without_byte_order_mark(text);
  std::string paragraph;
  std::int64_t begin = 1;
  const auto finish = [&] {
    if (!paragraph.empty()) {
      add_prompt(suite, fmt::format("line-{}", begin), std::exchange(paragraph, {}), begin);
    }
  };
  for (std::int64_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view content = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    content.remove_suffix(content.ends_with('\r') ? 1 : 0);
    if (content.find_first_not_of(" \t") == std::string_view::npos) {
      finish();
      continue;
    }
    if (paragraph.empty()) {
      begin = line;
    } else {
      paragraph += '\n';
    }
    paragraph += content;
  }
  finish();
  require_prompts(suite, "at least one line that is not empty");
  return suite;
}

Suite parse_csv_suite(std::string_view text, std::string_view name,
                      const std::filesystem::path& path, std::string_view column) {
  Suite suite{.name = std::string(name), .path = path, .digest = suite_digest(text), .prompts = {}};
  CsvReader reader(without_byte_order_mark(text), path);
  if (reader.at_end()) {
    require_prompts(suite, "a row of names and rows of texts");
  }
  const std::vector<std::string> names = reader.record();
  const std::size_t index = column_index(names, column, path);
  for (std::int64_t row = 1; !reader.at_end(); ++row) {
    const std::int64_t line = reader.line();
    std::vector<std::string> fields = reader.record();
    if (fields.size() == 1 && fields[0].empty()) {
      continue;  // an empty line
    }
    if (fields.size() != names.size()) {
      throw Error({.code = "suite.csv",
                   .what = "a row has another number of fields than the row of names",
                   .where = fmt::format("{}, line {}", path.string(), line),
                   .expected = fmt::format("{} fields", names.size()),
                   .actual = fmt::format("{}", fields.size()),
                   .hint = ""});
    }
    add_prompt(suite, fmt::format("row-{}", row), std::move(fields[index]), line);
  }
  require_prompts(suite, "a row below the row of names");
  return suite;
}

}  // namespace mg
