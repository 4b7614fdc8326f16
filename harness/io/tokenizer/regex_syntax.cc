#include "harness/io/tokenizer/regex_syntax.h"

#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "harness/io/tokenizer/regex_properties.h"
#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr int kMaxGroups = 100;

std::string concat(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) {
    out += part;
  }
  return out;
}

std::string bracket(std::string_view items, bool negated = false) {
  return concat({negated ? "[^" : "[", items, "]"});
}

// A character class as PCRE2 sees it: either the items between one pair of brackets, or an
// expression that consumes one character when the class cannot be written with one pair
// (intersections, a negated class inside another).
struct ClassText {
  bool flat = true;
  bool negated = false;  // of `items`
  std::string items;     // flat
  std::string one_char;  // not flat

  std::string render() const {
    if (!flat) {
      return one_char;
    }
    if (items.empty()) {
      return negated ? "(?s:.)" : "(?!)";
    }
    return bracket(items, negated);
  }
};

class Translator {
 public:
  Translator(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  std::string run() {
    std::string out = alternatives(false, 0);
    if (!done()) {
      unsupported("an unmatched ')'");
    }
    return out;
  }

 private:
  bool done() const { return at_ >= text_.size(); }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool accept(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) {
      return false;
    }
    at_ += word.size();
    return true;
  }
  char32_t take_code_point() {
    const CodePoint c = code_point_at(text_, at_);
    at_ += c.bytes;
    return c.value;
  }

  [[noreturn]] void unsupported(const std::string& construct) const {
    throw Error({.code = "tokenizer.unsupported-regex",
                 .what = concat({"a regular expression uses ", construct,
                                 ", which this reader does not translate"}),
                 .where = where_,
                 .expected = {},
                 .actual = std::string(text_),
                 .hint = "please report the model; guessing would change its token ids"});
  }

  std::string alternatives(bool caseless, int depth);
  std::string branch(bool caseless, int depth);
  std::string atom(bool caseless, int depth);
  std::string group(bool caseless, int depth);
  std::string options(bool caseless, int depth);
  std::string escape();
  std::string quantified(std::string piece);
  bool interval(std::string& out, bool& exact);
  std::string literal(char32_t c, bool caseless);

  ClassText char_class(bool caseless, int depth);
  void class_item(ClassText& set, std::vector<std::string>& others, bool caseless, int depth);
  void class_escape(ClassText& set, std::vector<std::string>& others, bool caseless);
  void class_range(ClassText& set, char32_t first, bool caseless);
  std::optional<char32_t> char_escape();
  std::string property(bool& negated);
  char32_t hex(std::size_t min_digits, std::size_t max_digits);

  std::string_view text_;
  std::string where_;
  std::size_t at_ = 0;
  char32_t last_literal_ = 0;  // the literal just before, in a case-insensitive part
};

std::string class_literal(char32_t c) {
  std::string out;
  if (c == U'\\' || c == U']' || c == U'[' || c == U'^' || c == U'-') {
    out.push_back('\\');
  }
  append_utf8(out, c);
  return out;
}

std::string Translator::alternatives(bool caseless, int depth) {
  if (depth > kMaxGroups) {
    unsupported("more than 100 nested groups");
  }
  std::string out = branch(caseless, depth);
  while (accept("|")) {
    out += concat({"|", branch(caseless, depth)});
  }
  return out;
}

std::string Translator::branch(bool caseless, int depth) {
  std::string out;
  last_literal_ = 0;
  while (!done() && peek() != '|' && peek() != ')') {
    out += quantified(atom(caseless, depth));
  }
  return out;
}

std::string Translator::atom(bool caseless, int depth) {
  const char c = peek();
  if (c != '(' && c != '[' && c != '\\' && c != '.' && c != '^' && c != '$') {
    if (c == '*' || c == '+' || c == '?') {
      unsupported("a repeat without a target");
    }
    return literal(take_code_point(), caseless);
  }
  const char32_t before = std::exchange(last_literal_, 0);
  if (c == '\\') {
    const std::size_t begin = at_;
    ++at_;
    if (const auto value = char_escape()) {
      last_literal_ = before;
      return literal(*value, caseless);
    }
    at_ = begin + 1;
    return escape();
  }
  ++at_;
  switch (c) {
    case '(':
      return group(caseless, depth);
    case '[':
      return char_class(caseless, depth).render();
    case '.':
      return "[^\\n]";
    default:
      return std::string(
          1, c);  // ^ and $ match at lines in Ruby's flavour: compiled with PCRE2_MULTILINE
  }
}

// Literals in (?i:...) parts.  Oniguruma also matches the characters whose full case folding is the
// literal text (ss and U+00DF, ff and U+FB00, ...), PCRE2 does not.
std::string Translator::literal(char32_t c, bool caseless) {
  if (caseless) {
    if (c >= 0x80) {
      unsupported("a case-insensitive non-ASCII character");
    }
    const auto fold = [](char32_t x) { return x >= U'A' && x <= U'Z' ? x + 32 : x; };
    static constexpr std::array<std::pair<char32_t, char32_t>, 5> kFolded = {
        {{U's', U's'}, {U'f', U'f'}, {U'f', U'i'}, {U'f', U'l'}, {U's', U't'}}};
    for (const auto& [first, second] : kFolded) {
      if (fold(last_literal_) == first && fold(c) == second) {
        unsupported("case-insensitive letters that fold together");
      }
    }
    last_literal_ = c;
  }
  return quote_regex(to_utf8(c));
}

std::string Translator::group(bool caseless, int depth) {
  const auto finish = [&](const std::string& open, bool inner_caseless) {
    const std::string out = concat({open, alternatives(inner_caseless, depth + 1), ")"});
    if (!accept(")")) {
      unsupported("an unclosed group");
    }
    last_literal_ = 0;
    return out;
  };
  if (peek() != '?') {
    if (peek() == '*') {
      unsupported("a callout");
    }
    return finish("(?:", caseless);  // nothing here reads captures
  }
  ++at_;
  for (const std::string_view open : {":", "=", "!", ">", "<=", "<!"}) {
    if (accept(open)) {
      return finish(concat({"(?", open}), caseless);
    }
  }
  if (peek() == '<') {
    const std::size_t close = text_.find('>', at_);
    if (close == std::string_view::npos) {
      unsupported("an unclosed group name");
    }
    at_ = close + 1;
    return finish("(?:", caseless);
  }
  if (accept("#")) {
    const std::size_t close = text_.find(')', at_);
    if (close == std::string_view::npos) {
      unsupported("an unclosed comment");
    }
    at_ = close + 1;
    return {};
  }
  return options(caseless, depth);
}

// (?i), (?i:...), (?-mi:...).  An option without ':' holds to the end of the group, its later
// alternatives included: in Ruby's flavour a(?i)b|c is a(?i:b|c).
std::string Translator::options(bool caseless, int depth) {
  bool on = true;
  std::string set;
  std::string unset;
  while (!done() && peek() != ':' && peek() != ')') {
    const char c = text_[at_++];
    if (c == '-') {
      on = false;
    } else if (c == 'i') {
      caseless = on;
      (on ? set : unset) += 'i';
    } else if (c != 'm' || on) {  // a translated dot never matches newlines: (?-m) says so anyway
      unsupported(concat({"group option '", text_.substr(at_ - 1, 1), "'"}));
    }
  }
  const bool scoped = accept(":");
  if (!scoped && !accept(")")) {
    unsupported("an unclosed group");
  }
  std::string out = concat(
      {"(?", set, unset.empty() ? "" : "-", unset, ":", alternatives(caseless, depth + 1), ")"});
  if (scoped && !accept(")")) {
    unsupported("an unclosed group");
  }
  last_literal_ = 0;
  return out;
}

char32_t Translator::hex(std::size_t min_digits, std::size_t max_digits) {
  char32_t value = 0;
  std::size_t digits = 0;
  while (digits < max_digits) {
    const char c = peek();
    const bool letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (!(c >= '0' && c <= '9') && !letter) {
      break;
    }
    const int digit = letter ? (c | 0x20) - 'a' + 10 : c - '0';
    value = value * 16 + static_cast<char32_t>(digit);
    ++at_;
    ++digits;
  }
  if (digits < min_digits || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
    unsupported("a malformed character code");
  }
  return value;
}

// The character an escape stands for; nothing when it stands for something else.  `at_` is behind
// the backslash.
std::optional<char32_t> Translator::char_escape() {
  if (done()) {
    unsupported("a backslash at the end");
  }
  const char32_t c = take_code_point();
  static constexpr std::array<std::pair<char32_t, char32_t>, 7> kControls = {
      {{U't', 9}, {U'n', 10}, {U'v', 11}, {U'f', 12}, {U'r', 13}, {U'a', 7}, {U'e', 27}}};
  for (const auto& [letter, value] : kControls) {
    if (c == letter) {
      return value;
    }
  }
  if (c == U'x') {
    if (accept("{")) {
      const char32_t value = hex(1, 8);
      if (!accept("}")) {
        unsupported("a malformed character code");
      }
      return value;
    }
    const char32_t value = hex(1, 2);
    if (value >= 0x80) {
      unsupported("a raw byte");
    }
    return value;
  }
  if (c == U'u') {
    return hex(4, 4);
  }
  const bool alphanumeric =
      c < 0x80 && ((c >= U'0' && c <= U'9') || ((c | 0x20U) >= U'a' && (c | 0x20U) <= U'z'));
  return alphanumeric ? std::nullopt : std::optional<char32_t>(c);
}

// {L}, {^L} or a single letter after \p or \P.
std::string Translator::property(bool& negated) {
  std::string name;
  if (accept("{")) {
    if (accept("^")) {
      negated = !negated;
    }
    const std::size_t close = text_.find('}', at_);
    if (close == std::string_view::npos) {
      unsupported("an unclosed property name");
    }
    name = std::string(text_.substr(at_, close - at_));
    at_ = close + 1;
  } else {
    unsupported("a property without braces");  // Oniguruma reads \pL as the letters p and L
  }
  const auto items = property_items(name);
  if (!items) {
    unsupported(concat({"property \\p{", name, "}"}));
  }
  return *items;
}

std::string Translator::escape() {
  const char c = text_[at_++];
  const std::string word = bracket(kWordItems);
  switch (c) {
    case 's':
    case 'S':
      return std::string("\\") + c;
    case 'd':
      return R"(\p{Nd})";
    case 'D':
      return R"(\P{Nd})";
    case 'w':
      return bracket(kWordItems);
    case 'W':
      return bracket(kWordItems, true);
    case 'h':
      return "[0-9a-fA-F]";
    case 'H':
      return "[^0-9a-fA-F]";
    case 'b':
      return concat({"(?:(?<=", word, ")(?!", word, ")|(?<!", word, ")(?=", word, "))"});
    case 'B':
      return concat({"(?:(?<=", word, ")(?=", word, ")|(?<!", word, ")(?!", word, "))"});
    case 'A':
    case 'z':
    case 'Z':
    case 'R':
      return std::string("\\") + c;
    case 'p':
    case 'P': {
      bool negated = c == 'P';
      const std::string items = property(negated);
      return bracket(items, negated);
    }
    default:
      unsupported(std::string("escape \\") + c);
  }
}

// {n}, {n,}, {n,m}, {,m}; false when the brace is a literal.
bool Translator::interval(std::string& out, bool& exact) {
  const std::size_t begin = at_;
  const auto digits = [this] {
    std::string number;
    while (peek() >= '0' && peek() <= '9') {
      number += text_[at_++];
    }
    return number;
  };
  ++at_;
  const std::string low = digits();
  const bool comma = accept(",");
  const std::string high = comma ? digits() : std::string();
  if (!accept("}") || (low.empty() && high.empty())) {
    at_ = begin;
    return false;
  }
  exact = !comma;
  out = concat({"{", low.empty() ? "0" : low, comma ? "," : "", high, "}"});
  return true;
}

std::string Translator::quantified(std::string piece) {
  bool repeated = false;
  while (!done()) {
    std::string repeat;
    bool exact = false;
    bool braces = false;
    if (peek() == '*' || peek() == '+' || peek() == '?') {
      repeat = text_[at_++];
    } else if (peek() == '{' && interval(repeat, exact)) {
      braces = true;
    } else {
      break;
    }
    if (piece.empty()) {
      unsupported("a repeat without a target");
    }
    last_literal_ = 0;
    piece = repeated ? concat({"(?:", piece, ")", repeat}) : piece + repeat;
    repeated = true;
    // {n,m}+ is a repeat of the interval in Ruby's flavour, not a possessive one, and {n}? an
    // optional one.
    if (braces && (peek() == '+' || (peek() == '?' && exact))) {
      piece = concat({"(?:", piece, ")", text_.substr(at_++, 1)});
    } else if (peek() == '?' || peek() == '+') {
      piece += text_[at_++];
    }
  }
  return piece;
}

// The opening bracket is behind us.  && binds weaker than everything else inside.
ClassText Translator::char_class(bool caseless, int depth) {
  if (depth > kMaxGroups) {
    unsupported("more than 100 nested groups");
  }
  const bool negated = accept("^");
  if (peek() == ']') {
    unsupported("']' as the first character of a class");
  }
  std::vector<std::string> conjuncts;
  ClassText set;
  std::vector<std::string> others;
  const auto close_conjunct = [&] {
    if (!others.empty()) {
      if (!set.items.empty()) {
        others.push_back(set.render());
      }
      std::string joined;
      for (const auto& other : others) {
        joined += (joined.empty() ? "" : "|") + other;
      }
      set = {
          .flat = false, .negated = false, .items = {}, .one_char = concat({"(?:", joined, ")"})};
    }
    others.clear();
  };
  while (!accept("]")) {
    if (done()) {
      unsupported("an unclosed character class");
    }
    if (accept("&&")) {
      close_conjunct();
      conjuncts.push_back(set.render());
      set = {};
      continue;
    }
    class_item(set, others, caseless, depth);
  }
  close_conjunct();
  if (conjuncts.empty() && set.flat) {
    set.negated = negated;
    return set;
  }
  std::string all = "(?:";
  for (const auto& conjunct : conjuncts) {
    all += concat({"(?=", conjunct, ")"});
  }
  all += concat({set.render(), ")"});
  return {.flat = false,
          .negated = false,
          .items = {},
          .one_char = negated ? concat({"(?:(?!", all, ")(?s:.))"}) : all};
}

void Translator::class_item(ClassText& set, std::vector<std::string>& others, bool caseless,
                            int depth) {
  if (accept("[:")) {
    const bool negated = accept("^");
    const std::size_t close = text_.find(":]", at_);
    const auto items = close == std::string_view::npos
                           ? std::nullopt
                           : posix_items(text_.substr(at_, close - at_));
    if (!items) {
      unsupported("an unknown POSIX class");
    }
    at_ = close + 2;
    if (negated) {
      others.push_back(bracket(*items, true));
    } else {
      set.items += *items;
    }
    return;
  }
  if (accept("[")) {
    const ClassText inner = char_class(caseless, depth + 1);
    if (inner.flat && !inner.negated) {
      set.items += inner.items;
    } else {
      others.push_back(inner.render());
    }
    return;
  }
  if (accept("\\")) {
    class_escape(set, others, caseless);
    return;
  }
  class_range(set, take_code_point(), caseless);
}

void Translator::class_escape(ClassText& set, std::vector<std::string>& others, bool caseless) {
  const std::size_t begin = at_;
  if (peek() == 'b') {
    unsupported("\\b in a class");
  }
  if (const auto value = char_escape()) {
    class_range(set, *value, caseless);
    return;
  }
  at_ = begin;
  const char c = text_[at_++];
  switch (c) {
    case 's':
    case 'S':
      set.items += std::string("\\") + c;
      return;
    case 'd':
      set.items += R"(\p{Nd})";
      return;
    case 'D':
      set.items += R"(\P{Nd})";
      return;
    case 'w':
      set.items += kWordItems;
      return;
    case 'W':
      others.push_back(bracket(kWordItems, true));
      return;
    case 'h':
      set.items += "0-9a-fA-F";
      return;
    case 'H':
      others.emplace_back("[^0-9a-fA-F]");
      return;
    case 'p':
    case 'P': {
      bool negated = c == 'P';
      const std::string items = property(negated);
      if (negated) {
        others.push_back(bracket(items, true));
      } else {
        set.items += items;
      }
      return;
    }
    default:
      unsupported(concat({"escape \\", text_.substr(at_ - 1, 1), " in a class"}));
  }
}

// A character, or a range when '-' and an end follow.
void Translator::class_range(ClassText& set, char32_t first, bool caseless) {
  char32_t last = first;
  if (peek() == '-' && peek(1) != ']' && peek(1) != '\0' && !(peek(1) == '&' && peek(2) == '&')) {
    ++at_;
    if (peek() == '[') {
      unsupported("a class as the end of a range");
    }
    if (accept("\\")) {
      const auto value = char_escape();
      if (!value) {
        unsupported("a class as the end of a range");
      }
      last = *value;
    } else {
      last = take_code_point();
    }
    if (last < first) {
      unsupported("an empty range");
    }
  }
  if (caseless && last >= 0x80) {
    unsupported("a case-insensitive non-ASCII character");
  }
  set.items += class_literal(first);
  if (last != first) {
    set.items += concat({"-", class_literal(last)});
  }
}

}  // namespace

std::string quote_regex(std::string_view literal) {
  static constexpr std::string_view kSpecial = R"(\^$.[]|()?*+{}#-)";
  std::string out;
  for (const char c : literal) {
    if (kSpecial.find(c) != std::string_view::npos) {
      out.push_back('\\');
    }
    out.push_back(c);
  }
  return out;
}

std::string pcre2_syntax(std::string_view expression, std::string_view where) {
  if (expression.find('\0') != std::string_view::npos ||
      find_invalid_utf8(expression) != std::string_view::npos) {
    throw Error({.code = "tokenizer.unsupported-regex",
                 .what = "a regular expression holds a NUL or is not valid UTF-8",
                 .where = std::string(where),
                 .expected = {},
                 .actual = {},
                 .hint = {}});
  }
  return Translator(expression, where).run();
}

}  // namespace mg
