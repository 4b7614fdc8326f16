#include "harness/io/python_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <utility>

#include "kernels/core/error.h"

namespace mg {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using CodePointer = std::unique_ptr<pcre2_code, FreeCode>;
using MatchPointer = std::unique_ptr<pcre2_match_data, FreeMatch>;

// Steps of backtracking before giving up; names are short, an honest pattern needs a few hundred.
constexpr std::uint32_t kMatchLimit = 1'000'000;
constexpr std::size_t kMaxPattern = 65536;

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

PCRE2_SPTR units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

}  // namespace

struct PythonRegex::Code {
  CodePointer code;
};

PythonRegex::PythonRegex(std::string_view pattern, std::string_view where)
    : code_(std::make_unique<Code>()), where_(where) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  // The dot stops at a line feed alone in Python; \d, \w, \s and \b go by Unicode.
  std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_max_pattern_length(context.get(), kMaxPattern);
  code_->code.reset(pcre2_compile(units(pattern), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error,
                                  &offset, context.get()));
  if (code_->code == nullptr) {
    throw Error(
        {.code = "regex.syntax",
         .what = "the pattern is not a valid regular expression",
         .where = where_,
         .expected = {},
         .actual = fmt::format("\"{}\": {} at offset {}", pattern, message_of(error), offset),
         .hint = {}});
  }
}

PythonRegex::~PythonRegex() = default;
PythonRegex::PythonRegex(PythonRegex&&) noexcept = default;
PythonRegex& PythonRegex::operator=(PythonRegex&&) noexcept = default;

namespace {

// Returns the match, or nothing; throws when the limit is hit.
MatchPointer run(const pcre2_code* code, std::string_view text, std::uint32_t options,
                 const std::string& where) {
  MatchPointer found(pcre2_match_data_create_from_pattern(code, nullptr));
  std::unique_ptr<pcre2_match_context, FreeContext> limits(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(limits.get(), kMatchLimit);
  const int result =
      pcre2_match(code, units(text), text.size(), 0, options, found.get(), limits.get());
  if (result >= 0) {
    return found;
  }
  if (result == PCRE2_ERROR_NOMATCH) {
    return nullptr;
  }
  throw Error({.code = "regex.limit",
               .what = "the pattern needs too many steps on a module's name",
               .where = where,
               .expected = fmt::format("at most {} steps", kMatchLimit),
               .actual = fmt::format("{} on \"{}\"", message_of(result), text),
               .hint = "write the pattern without nested repetitions"});
}

}  // namespace

bool PythonRegex::full_match(std::string_view text) const {
  return run(code_->code.get(), text, PCRE2_ANCHORED | PCRE2_ENDANCHORED, where_) != nullptr;
}

bool PythonRegex::match(std::string_view text) const {
  return run(code_->code.get(), text, PCRE2_ANCHORED, where_) != nullptr;
}

bool PythonRegex::match(std::string_view text, const std::string& name, std::string& group) const {
  const MatchPointer found = run(code_->code.get(), text, PCRE2_ANCHORED, where_);
  group.clear();
  if (found == nullptr) {
    return false;
  }
  PCRE2_UCHAR* copy = nullptr;
  PCRE2_SIZE length = 0;
  if (pcre2_substring_get_byname(found.get(), reinterpret_cast<PCRE2_SPTR>(name.c_str()), &copy,
                                 &length) == 0) {
    group.assign(reinterpret_cast<const char*>(copy), length);
    pcre2_substring_free(copy);
  }
  return true;
}

bool is_plain_pattern(std::string_view pattern) {
  return std::all_of(pattern.begin(), pattern.end(), [](unsigned char c) {
    return c < 0x80 && (std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.');
  });
}

}  // namespace mg
