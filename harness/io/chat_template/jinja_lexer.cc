#include "harness/io/chat_template/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "harness/io/chat_template/jinja_text.h"
#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg::jinja {
namespace {

// \r\n and \r become \n, and one newline at the end goes (keep_trailing_newline is off).
std::string plain_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      i += i + 1 < source.size() && source[i + 1] == '\n' ? 1 : 0;
    } else {
      out.push_back(source[i]);
    }
  }
  if (!out.empty() && out.back() == '\n') {
    out.pop_back();
  }
  return out;
}

class Lexer {
 public:
  Lexer(std::string source, std::string_view name) : source_(std::move(source)), name_(name) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      outside();
    }
    push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    fail_at(name_, line_, "chat_template.syntax", what);
  }
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool starts(std::string_view word) const { return rest().starts_with(word); }
  void push(TokenKind kind, std::string text) {
    tokens_.push_back({kind, line_, std::move(text), 0, 0});
  }
  void advance(std::size_t bytes) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + bytes),
                                         '\n'));
    at_ += bytes;
    line_starting_ = at_ > 0 && bytes > 0 && source_[at_ - 1] == '\n';
  }
  void skip_space() { advance(space_at(at_)); }
  std::size_t space_at(std::size_t begin) const;

  void outside();
  void comment();
  bool raw_block(std::size_t begin);
  void raw_body(std::size_t open_bytes);
  void inside(bool block);
  bool tag_end(bool block);
  bool number();
  void string_literal();
  void operator_token();
  std::string stripped_before_tag(std::string_view text, char sign, bool lstrip) const;
  void escape(std::string_view body, std::size_t& i, std::string& out);

  std::string source_;
  std::string name_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::string open_;  // brackets waiting for their partner
  std::vector<Token> tokens_;
};

std::size_t Lexer::space_at(std::size_t begin) const {
  std::size_t end = begin;
  while (end < source_.size()) {
    const CodePoint c = code_point_at(source_, end);
    if (!is_python_space(c.value)) {
      break;
    }
    end += c.bytes;
  }
  return end - begin;
}

// What is left of the text before a tag: '-' strips all white space, lstrip_blocks that between the
// line's begin and the tag unless '+' forbids it.
std::string Lexer::stripped_before_tag(std::string_view text, char sign, bool lstrip) const {
  if (sign == '-') {
    return std::string(python_strip(text, false, true));
  }
  if (sign == '+' || !lstrip) {
    return std::string(text);
  }
  const std::size_t newline = text.rfind('\n');
  const std::size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
  if ((begin > 0 || line_starting_) && python_strip(text.substr(begin), false, true).empty()) {
    return std::string(text.substr(0, begin));
  }
  return std::string(text);
}

void Lexer::outside() {
  std::size_t begin = at_;
  while (begin + 1 < source_.size() &&
         !(source_[begin] == '{' &&
           (source_[begin + 1] == '%' || source_[begin + 1] == '{' || source_[begin + 1] == '#'))) {
    ++begin;
  }
  if (begin + 1 >= source_.size()) {
    push(TokenKind::kText, std::string(rest()));
    advance(source_.size() - at_);
    return;
  }
  const char kind = source_[begin + 1];
  const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
  const bool signed_tag = sign == '-' || sign == '+';
  std::string text = stripped_before_tag(std::string_view(source_).substr(at_, begin - at_),
                                         signed_tag ? sign : '\0', kind != '{');
  if (!text.empty()) {
    push(TokenKind::kText, std::move(text));
  }
  advance(begin - at_);
  const std::size_t open_bytes = signed_tag ? 3 : 2;
  if (kind == '#') {
    advance(open_bytes);
    comment();
  } else if (kind == '%' && raw_block(at_ + open_bytes)) {
    raw_body(open_bytes);
  } else {
    push(kind == '%' ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
    advance(open_bytes);
    inside(kind == '%');
  }
}

void Lexer::comment() {
  const std::size_t end = source_.find("#}", at_);
  if (end == std::string::npos) {
    fail("a comment is not closed");
  }
  const char sign = end > at_ ? source_[end - 1] : '\0';
  advance(end + 2 - at_);
  if (sign == '-') {
    skip_space();
  } else if (sign != '+' && starts("\n")) {
    advance(1);
  }
}

// Whether the block that begins before `begin` is {% raw %}.
bool Lexer::raw_block(std::size_t begin) {
  begin += space_at(begin);
  if (source_.compare(begin, 3, "raw") != 0) {
    return false;
  }
  begin += 3;
  begin += space_at(begin);
  return source_.compare(begin, 2, "%}") == 0 || source_.compare(begin, 3, "-%}") == 0;
}

void Lexer::raw_body(std::size_t open_bytes) {
  advance(open_bytes);
  skip_space();
  advance(3);
  skip_space();
  const bool strip = starts("-");
  advance(strip ? 3 : 2);
  if (strip) {
    skip_space();
  }
  for (std::size_t tag = source_.find("{%", at_); tag != std::string::npos;
       tag = source_.find("{%", tag + 2)) {
    const char sign = source_[tag + 2 < source_.size() ? tag + 2 : tag];
    const bool signed_tag = sign == '-' || sign == '+';
    std::size_t end = tag + (signed_tag ? 3 : 2);
    end += space_at(end);
    if (source_.compare(end, 6, "endraw") != 0) {
      continue;
    }
    end += 6;
    end += space_at(end);
    const bool closed_minus = source_.compare(end, 3, "-%}") == 0;
    const bool closed_plus = source_.compare(end, 3, "+%}") == 0;
    if (!closed_minus && !closed_plus && source_.compare(end, 2, "%}") != 0) {
      continue;
    }
    push(TokenKind::kText, stripped_before_tag(std::string_view(source_).substr(at_, tag - at_),
                                               signed_tag ? sign : '\0', true));
    advance(end + (closed_minus || closed_plus ? 3 : 2) - at_);
    if (closed_minus) {
      skip_space();
    } else if (!closed_plus && starts("\n")) {
      advance(1);
    }
    return;
  }
  fail("a raw block is not closed");
}

bool Lexer::tag_end(bool block) {
  const std::string_view end = block ? "%}" : "}}";
  char sign = '\0';
  if (!starts(end)) {
    sign = rest().empty() ? '\0' : rest()[0];
    if ((sign != '-' && !(sign == '+' && block)) || !rest().substr(1).starts_with(end)) {
      return false;
    }
  }
  push(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
  advance(end.size() + (sign != '\0' ? 1 : 0));
  if (sign == '-') {
    skip_space();
  } else if (sign == '\0' && block && starts("\n")) {
    advance(1);
  }
  return true;
}

void Lexer::inside(bool block) {
  open_.clear();
  while (at_ < source_.size()) {
    if (open_.empty() && tag_end(block)) {
      return;
    }
    const char c = source_[at_];
    const std::size_t space = space_at(at_);
    if (space > 0) {
      advance(space);
    } else if (number()) {
      continue;
    } else if (is_name_char(code_point_at(source_, at_).value)) {
      std::size_t end = at_;
      while (end < source_.size() && is_name_char(code_point_at(source_, end).value)) {
        end += code_point_at(source_, end).bytes;
      }
      push(TokenKind::kName, source_.substr(at_, end - at_));
      advance(end - at_);
    } else if (c == '\'' || c == '"') {
      string_literal();
    } else {
      operator_token();
    }
  }
  fail(block ? "a block tag is not closed" : "a variable tag is not closed");
}

// Integers (decimal, 0b, 0o, 0x) and floats, with '_' between digits.
bool Lexer::number() {
  const auto digit = [this](std::size_t at) {
    return at < source_.size() && source_[at] >= '0' && source_[at] <= '9';
  };
  if (!digit(at_)) {
    return false;
  }
  const auto digits = [&](std::size_t at) {
    while (digit(at) || (at < source_.size() && source_[at] == '_' && digit(at + 1))) {
      ++at;
    }
    return at;
  };
  const auto clean = [this](std::size_t begin, std::size_t end) {
    std::string text = source_.substr(begin, end - begin);
    std::erase(text, '_');
    return text;
  };
  std::size_t end = digits(at_);
  bool is_float = false;
  const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';  // a.0.5 is two subscripts
  if (!after_dot && end < source_.size() && source_[end] == '.' && digit(end + 1)) {
    is_float = true;
    end = digits(end + 1);
  }
  if (!after_dot && end < source_.size() && (source_[end] | 0x20) == 'e') {
    const bool sign =
        end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
    if (digit(end + (sign ? 2 : 1))) {
      is_float = true;
      end = digits(end + (sign ? 2 : 1));
    }
  }
  Token token{is_float ? TokenKind::kFloat : TokenKind::kInteger, line_, clean(at_, end), 0, 0};
  const char* first = token.text.data();
  const char* last = first + token.text.size();
  if (is_float) {
    std::from_chars(first, last, token.number);
  } else {
    int base = 10;
    const char prefix = token.text == "0" && end < source_.size() ? source_[end] : '\0';
    if (prefix == 'x' || prefix == 'X' || prefix == 'o' || prefix == 'O' || prefix == 'b' ||
        prefix == 'B') {
      base = (prefix | 0x20) == 'x' ? 16 : (prefix | 0x20) == 'o' ? 8 : 2;
      const std::size_t begin = ++end;
      while (end < source_.size() && is_name_char(static_cast<unsigned char>(source_[end]))) {
        ++end;
      }
      token.text = clean(begin, end);
      first = token.text.data();
      last = first + token.text.size();
    }
    const auto parsed = std::from_chars(first, last, token.integer, base);
    if (parsed.ec != std::errc() || parsed.ptr != last) {
      fail("the number " + token.text + " does not fit in 64 bits or is malformed");
    }
  }
  tokens_.push_back(std::move(token));
  advance(end - at_);
  return true;
}

void Lexer::string_literal() {
  const char quote = source_[at_];
  std::size_t end = at_ + 1;
  while (end < source_.size() && source_[end] != quote) {
    end += source_[end] == '\\' ? 2 : 1;
  }
  if (end >= source_.size()) {
    fail("a string is not closed");
  }
  const std::string_view body = std::string_view(source_).substr(at_ + 1, end - at_ - 1);
  std::string text;
  for (std::size_t i = 0; i < body.size(); ++i) {
    if (body[i] == '\\') {
      escape(body, i, text);
    } else {
      text.push_back(body[i]);
    }
  }
  push(TokenKind::kString, std::move(text));
  advance(end + 1 - at_);
}

// One backslash escape of a Python string literal; `i` is left on its last byte.
void Lexer::escape(std::string_view body, std::size_t& i, std::string& out) {
  const char c = body[++i];
  static constexpr std::array<std::pair<char, char>, 10> kSimple = {{{'n', '\n'},
                                                                     {'t', '\t'},
                                                                     {'r', '\r'},
                                                                     {'\\', '\\'},
                                                                     {'\'', '\''},
                                                                     {'"', '"'},
                                                                     {'a', '\a'},
                                                                     {'b', '\b'},
                                                                     {'f', '\f'},
                                                                     {'v', '\v'}}};
  for (const auto& [letter, value] : kSimple) {
    if (c == letter) {
      out.push_back(value);
      return;
    }
  }
  if (c == '\n') {
    return;
  }
  const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  unsigned value = 0;
  const char* first = body.data() + i + 1;
  if (digits > 0) {
    if (i + digits >= body.size() ||
        std::from_chars(first, first + digits, value, 16).ptr != first + digits) {
      fail("a string has a malformed escape");
    }
    i += digits;
  } else if (c >= '0' && c <= '7') {
    std::size_t count = 1;
    while (count < 3 && i + count < body.size() && body[i + count] >= '0' &&
           body[i + count] <= '7') {
      ++count;
    }
    std::from_chars(first - 1, first - 1 + count, value, 8);
    i += count - 1;
  } else if (c == 'N') {
    fail("the escape \\N{...} is not supported");
  } else {
    out.push_back('\\');  // Python keeps an unknown escape as it is
    out.push_back(c);
    return;
  }
  if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
    fail("a string escapes a code point that is not a character");
  }
  append_utf8(out, value);
}

void Lexer::operator_token() {
  static constexpr std::array<std::string_view, 26> kOperators = {
      "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
      "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
  const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                  [this](std::string_view word) { return starts(word); });
  if (found == kOperators.end()) {
    fail("unexpected character '" + to_utf8(code_point_at(source_, at_).value) + "'");
  }
  const char c = found->front();
  if (c == '(' || c == '[' || c == '{') {
    open_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
  } else if (c == ')' || c == ']' || c == '}') {
    if (open_.empty() || open_.back() != c) {
      fail(std::string("unexpected '") + c + "'");
    }
    open_.pop_back();
  }
  push(TokenKind::kOperator, std::string(*found));
  advance(found->size());
}

}  // namespace

std::vector<Token> lex(std::string_view source, std::string_view name) {
  if (find_invalid_utf8(source) != std::string_view::npos) {
    fail_at(name, 1, "chat_template.syntax", "the template is not valid UTF-8");
  }
  return Lexer(plain_newlines(source), name).run();
}

void fail_at(std::string_view name, int line, std::string code, std::string what) {
  throw Error({.code = std::move(code),
               .what = std::move(what),
               .where = std::string(name) + ", line " + std::to_string(line),
               .expected = {},
               .actual = {},
               .hint = {}});
}

}  // namespace mg::jinja
