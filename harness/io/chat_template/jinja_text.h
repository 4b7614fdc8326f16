// Python's view of text: positions count characters, white space and letters are Unicode's, numbers
// and values have their repr.  Everything takes and gives valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mg::jinja {

bool is_python_space(char32_t c);  // str.isspace: White_Space and U+001C..U+001F
bool is_name_char(char32_t c);     // \w of Python's re
bool is_printable(char32_t c);     // str.isprintable

/// str.strip(), of white space, at the chosen ends.
std::string_view python_strip(std::string_view text, bool left, bool right);
/// str.strip(characters).
std::string_view python_strip(std::string_view text, std::string_view characters, bool left,
                              bool right);

std::vector<char32_t> code_points(std::string_view text);
std::string from_code_points(const std::vector<char32_t>& text, std::size_t begin, std::size_t end);

std::string python_lower(std::string_view text);
std::string python_upper(std::string_view text);
std::string python_title(std::string_view text);
std::string python_capitalize(std::string_view text);

enum class CharKind { kLetter, kDecimal, kDigit, kNumeric, kUpper, kLower };
bool is_kind(char32_t c, CharKind kind);

/// repr(): shortest digits that read back, an exponent below 1e-4 and from 1e16.
std::string python_float(double value);
/// repr() of a str, quotes included.
std::string python_quote(std::string_view text);
/// html.escape as markupsafe does it.
std::string html_escape(std::string_view text);

}  // namespace mg::jinja
