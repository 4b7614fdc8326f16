// Text from files, prompts and tensor names made safe and fitted to a place.  They may hold any
// bytes. Not for: HTML and XML escaping (html/, junit/).  Tested in tests/reports/text_test.cc.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

/// One character of UTF-8: its bytes and code point.  U+FFFD with `valid` false for a byte that
/// belongs to none.
struct Utf8Character {
  std::string_view bytes;
  char32_t code = 0;
  bool valid = true;
};

/// The character at the front of `text`, which is not empty.
Utf8Character front_character(std::string_view text);

/// `text` with what is not UTF-8 replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

/// Safe on a terminal and on one line: valid UTF-8, control characters and marks that reorder text
/// written as escapes
/// ("\n", "\x1b", "\u202e").
std::string printable(std::string_view text);

/// Columns on a terminal: wide characters count twice, combining ones not at all.
std::size_t display_width(std::string_view text);

/// `text` filled with blanks to `width` columns, on the right or on the left.
std::string pad_right(std::string_view text, std::size_t width);
std::string pad_left(std::string_view text, std::size_t width);

/// `text` in at most `width` columns (1 or more); what does not fit is cut from the middle and
/// marked by "...", since paths and tensor names differ at both ends.
std::string fit(std::string_view text, std::size_t width);

/// Words in lines of at most `width` columns; a longer word is broken.  At least one line.
std::vector<std::string> wrap(std::string_view text, std::size_t width);

}  // namespace mg
