#include "suites/text_match.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "harness/io/tokenizer/regex.h"
#include "kernels/core/error.h"
#include "suites/json_schema.h"

namespace mg {
namespace {

/// What stands between ``` and ```, or the text itself.
std::string_view without_fence(std::string_view text) {
  constexpr std::string_view kFence = "```";
  text = trimmed(text);
  const std::size_t line = text.find('\n');
  const bool fenced = text.size() > 2 * kFence.size() && text.substr(0, 3) == kFence &&
                      text.substr(text.size() - 3) == kFence && line != std::string_view::npos;
  return fenced ? text.substr(line, text.size() - 3 - line) : text;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// The number that begins at text[at], commas between its thousands left out; `at` moves behind it.
double read_number(std::string_view text, std::size_t& at) {
  std::string digits;
  const auto take_digits = [&](bool commas) {
    while (at < text.size() &&
           (is_digit(text[at]) ||
            (commas && text[at] == ',' && at + 3 < text.size() && is_digit(text[at + 1]) &&
             is_digit(text[at + 2]) && is_digit(text[at + 3])))) {
      if (text[at] != ',') {
        digits += text[at];
      }
      ++at;
    }
  };
  take_digits(true);
  if (at + 1 < text.size() && text[at] == '.' && is_digit(text[at + 1])) {
    digits += text[at++];
    take_digits(false);
  }
  if (at + 1 < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    const std::size_t sign = text[at + 1] == '-' || text[at + 1] == '+' ? 1 : 0;
    if (at + 1 + sign < text.size() && is_digit(text[at + 1 + sign])) {
      digits += text.substr(at, 1 + sign);
      at += 1 + sign;
      take_digits(false);
    }
  }
  return std::strtod(digits.c_str(), nullptr);
}

std::optional<std::string> json_misfit(const std::string& schema_text, std::string_view text) {
  const auto schema = nlohmann::ordered_json::parse(schema_text);
  const auto value = nlohmann::ordered_json::parse(without_fence(text), nullptr, false);
  if (value.is_discarded()) {
    return "is not JSON";
  }
  const std::optional<std::string> misfit = schema_misfit(schema, value);
  return misfit ? std::optional("does not fit the schema: " + *misfit) : std::nullopt;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::optional<double> last_number(std::string_view text) {
  std::optional<double> last;
  for (std::size_t at = 0; at < text.size();) {
    if (!is_digit(text[at])) {
      ++at;
      continue;
    }
    // A minus belongs to the number unless it joins two words or numbers: "3-4", "GPT-4".
    const bool minus =
        at > 0 && text[at - 1] == '-' &&
        (at == 1 || std::string_view(" \t\n\r(=:$*[").find(text[at - 2]) != std::string_view::npos);
    const double value = read_number(text, at);
    last = minus ? -value : value;
  }
  return last;
}

std::optional<std::string> regex_fault(const std::string& expression) {
  try {
    const Regex compiled(expression, "");
    return std::nullopt;
  } catch (const Error& error) {
    return error.parts().actual.empty() ? error.parts().what : error.parts().actual;
  }
}

bool regex_found(const std::string& expression, std::string_view text) {
  try {
    const Regex compiled(expression, "");
    RegexScratch scratch;
    std::vector<TextRange> matches;
    compiled.find_all(text, scratch, matches);
    return !matches.empty();
  } catch (const Error& error) {
    if (error.parts().code == "tokenizer.regex-limit") {
      return false;
    }
    throw;
  }
}

std::vector<std::string> unmet(const Expectation& expectation, std::string_view text) {
  std::vector<std::string> reasons;
  if (expectation.exact && trimmed(text) != trimmed(*expectation.exact)) {
    reasons.push_back(fmt::format("is not exactly \"{}\"", *expectation.exact));
  }
  for (const std::string& part : expectation.contains) {
    if (text.find(part) == std::string_view::npos) {
      reasons.push_back(fmt::format("does not contain \"{}\"", part));
    }
  }
  if (expectation.regex && !regex_found(*expectation.regex, text)) {
    reasons.push_back(fmt::format("does not match /{}/", *expectation.regex));
  }
  if (expectation.json_schema) {
    if (const auto misfit = json_misfit(*expectation.json_schema, text)) {
      reasons.push_back(*misfit);
    }
  }
  if (expectation.number) {
    const std::optional<double> found = last_number(text);
    if (!found) {
      reasons.push_back("has no number");
    } else if (!(std::fabs(*found - *expectation.number) <= expectation.tolerance)) {
      reasons.push_back(fmt::format("its last number is {}, not {} within {}", *found,
                                    *expectation.number, expectation.tolerance));
    }
  }
  return reasons;
}

}  // namespace mg
