// What the reference tokenizers library believes about characters, where PCRE2 and utf8proc believe
// something else. unicode_tables.cc is generated (tests/tokenizer/reference/unicode_tables.py). All
// tables are sorted.
#pragma once

#include <span>

namespace mg {

struct CodePointRange {
  char32_t first;
  char32_t last;
};

struct StandIn {
  char32_t first;
  char32_t last;
  char32_t stand_in;
};

/// Characters that PCRE2 sorts into other classes than the reference's expressions do (assigned
/// after PCRE2's Unicode version, and U+180E), each with one that PCRE2 sorts as the reference
/// sorts them and that takes as many bytes.
std::span<const StandIn> regex_stand_ins();

/// Characters that the reference's normaliser, which knows an older Unicode than utf8proc, passes
/// through as unknown: no decomposition, combining class 0, no composition.
std::span<const CodePointRange> normaliser_strangers();

std::span<const CodePointRange> numeric_ranges();      // Rust's char::is_numeric
std::span<const CodePointRange> punctuation_ranges();  // as the Punctuation pre-tokenizer counts it
std::span<const CodePointRange> word_ranges();         // \w of Rust's regex crate

}  // namespace mg
