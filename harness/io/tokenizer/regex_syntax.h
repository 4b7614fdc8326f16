// Rewrites a regular expression from the reference library's syntax (Oniguruma, Ruby flavour,
// Unicode; its doc/RE and doc/SYNTAX.md) into PCRE2's.  The two look alike and mean different
// things in places: possessive and lazy intervals, nested and intersected character classes, \h,
// \v, \w, (?m), option scopes. Accepted: what published tokenizers use and a good deal more.
// Refused with Error "tokenizer.unsupported-regex" naming the construct: back references, captures
// by number, conditionals, absent groups, \K, \G, \X, (?x), case- insensitive literals whose
// folding is longer than one character.
#pragma once

#include <string>
#include <string_view>

namespace mg {

/// `where` (file and JSON path) goes into the error.
std::string pcre2_syntax(std::string_view expression, std::string_view where);

/// A literal text as a PCRE2 expression.
std::string quote_regex(std::string_view literal);

}  // namespace mg
