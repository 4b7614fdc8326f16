// UTF-8 and the character classes that the reference tokenizers library asks for outside of
// expressions. Not for: classes inside expressions (regex.h) or normalisation forms
// (unicode_forms.h). Tested in tests/tokenizer.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "harness/io/tokenizer/unicode_tables.h"

namespace mg {

struct CodePoint {
  char32_t value;
  std::size_t bytes;  // its length in UTF-8
};

/// The code point that begins at `text[at]`; `text` is valid UTF-8 and `at` a boundary.
CodePoint code_point_at(std::string_view text, std::size_t at);

/// The code point that ends before `text[end]`, 0 < end.
CodePoint code_point_before(std::string_view text, std::size_t end);

void append_utf8(std::string& out, char32_t code_point);
std::string to_utf8(char32_t code_point);
std::size_t count_code_points(std::string_view text);

/// Position of the first byte that is not part of well-formed UTF-8 (Unicode 15, table 3-7), or
/// npos.
std::size_t find_invalid_utf8(std::string_view text);

/// `bytes` with every maximal ill-formed part replaced by U+FFFD, as Rust's String::from_utf8_lossy
/// does.
std::string utf8_lossy(std::string_view bytes);

bool is_whitespace(char32_t c);  // property White_Space
bool is_numeric(char32_t c);
bool is_punctuation(char32_t c);
bool is_word(char32_t c);

/// Whether `c` lies in one of the sorted `ranges`.
bool in_ranges(std::span<const CodePointRange> ranges, char32_t c);

}  // namespace mg
