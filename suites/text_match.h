// What a scenario expects of a generated text, and whether a text meets it.  Private to suites but
// for Expectation and unmet().
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

/// Everything given must hold.
struct Expectation {
  std::optional<std::string> exact;   // the text without blanks around it
  std::vector<std::string> contains;  // each of these, somewhere
  std::optional<std::string> regex;   // matches somewhere (PCRE2, Unicode)
  // JSON text of a schema (json_schema.h): the whole text is JSON that fits, a Markdown fence
  // around it left out.
  std::optional<std::string> json_schema;
  std::optional<double> number;  // the last number of the text, within `tolerance`
  double tolerance = 0;
};

/// One sentence for each part that `text` does not meet; empty: all is met.
std::vector<std::string> unmet(const Expectation& expectation, std::string_view text);

/// The text without the blanks and line ends around it.
std::string_view trimmed(std::string_view text);

/// The last number of a text: "costs 1,234.5 dollars" gives 1234.5.
std::optional<double> last_number(std::string_view text);

/// What is wrong with a regular expression, or nothing.
std::optional<std::string> regex_fault(const std::string& expression);
/// Whether it matches somewhere; a text that takes too much backtracking does not.
bool regex_found(const std::string& expression, std::string_view text);

}  // namespace mg
