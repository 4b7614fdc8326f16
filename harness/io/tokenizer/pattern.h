// The member "pattern" of Split and Replace: {"String": "..."} or {"Regex": "..."}.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "harness/io/tokenizer/component.h"
#include "harness/io/tokenizer/regex.h"

namespace mg {

class Pattern {
 public:
  /// Throws Error "tokenizer.bad-component", "tokenizer.unsupported-regex".
  static Pattern read(const Component& component);
  explicit Pattern(std::variant<std::string, Regex> value) : value_(std::move(value)) {}

  /// Matches in `text`, left to right, not overlapping (see Regex::find_all; an empty literal
  /// matches nowhere but between characters, as the empty expression does).
  void find_all(std::string_view text, RegexScratch& scratch,
                std::vector<TextRange>& matches) const;

 private:
  std::variant<std::string, Regex> value_;  // a literal text or an expression
};

}  // namespace mg
