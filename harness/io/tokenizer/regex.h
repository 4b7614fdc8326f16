// Regular expressions with the reference tokenizers library's meaning, run by PCRE2.
// Not for: PEFT's module patterns (python_regex.h).  Tested in tests/tokenizer.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

struct TextRange {
  std::size_t begin = 0;
  std::size_t end = 0;

  friend bool operator==(const TextRange&, const TextRange&) = default;
};

/// What matching needs besides the expression; one per thread, reusable for any expression.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

class Regex {
 public:
  /// Compiles an expression written for the reference library (regex_syntax.h).  `where` names file
  /// and JSON path in errors.  Throws Error "tokenizer.unsupported-regex".
  Regex(std::string_view expression, std::string_view where);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  /// Appends the matches in `text` (valid UTF-8), left to right: after a match the search goes on
  /// behind it; an empty match right behind a match does not count.  Throws Error
  /// "tokenizer.regex-limit" where backtracking exceeds its budget.
  void find_all(std::string_view text, RegexScratch& scratch,
                std::vector<TextRange>& matches) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace mg
