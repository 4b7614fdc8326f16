// Cuts a template into text and tokens, with Jinja's whitespace rules for trim_blocks and
// lstrip_blocks switched on, as transformers does (jinja2/lexer.py describes them; `-` and `+` in
// tags override them).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mg::jinja {

enum class TokenKind {
  kText,           // outside of tags; `text` is ready for output
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kName,
  kString,  // `text` with escapes resolved
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;
  std::int64_t integer = 0;
  double number = 0;
};

/// Throws Error "chat_template.syntax" with the line.  `name` names the template.
std::vector<Token> lex(std::string_view source, std::string_view name);

/// Throws Error `code`, "what", where: name and line.
[[noreturn]] void fail_at(std::string_view name, int line, std::string code, std::string what);

}  // namespace mg::jinja
