#include "harness/io/chat_template/jinja_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "harness/io/tokenizer/unicode.h"

namespace mg::jinja {
namespace {

utf8proc_category_t category_of(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

char32_t simple(char32_t c, utf8proc_int32_t (*map)(utf8proc_int32_t)) {
  return static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(c)));
}

// Unconditional mappings to several characters (Unicode, SpecialCasing.txt) that letters of living
// languages have.
std::optional<std::string_view> special_upper(char32_t c) {
  static constexpr std::array<std::pair<char32_t, std::string_view>, 16> kUpper = {
      {{0xDF, "SS"},
       {0x149, "\u02BCN"},
       {0x1F0, "J\u030C"},
       {0x390, "\u0399\u0308\u0301"},
       {0x3B0, "\u03A5\u0308\u0301"},
       {0x587, "\u0535\u0552"},
       {0x1E96, "H\u0331"},
       {0x1E97, "T\u0308"},
       {0x1E98, "W\u030A"},
       {0x1E99, "Y\u030A"},
       {0xFB00, "FF"},
       {0xFB01, "FI"},
       {0xFB02, "FL"},
       {0xFB03, "FFI"},
       {0xFB04, "FFL"},
       {0xFB06, "ST"}}};
  for (const auto& [from, to] : kUpper) {
    if (from == c) {
      return to;
    }
  }
  return std::nullopt;
}

bool is_cased(char32_t c) {
  const auto category = category_of(c);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

// Capital sigma becomes final sigma behind a cased letter and not before one.
char32_t lower_sigma(const std::vector<char32_t>& text, std::size_t at) {
  const auto ignorable = [](char32_t c) {
    const auto category = category_of(c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME ||
           category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_LM ||
           category == UTF8PROC_CATEGORY_SK || c == U'\'' || c == U'.' || c == U':' || c == 0xB7 ||
           c == 0x2019;
  };
  std::size_t before = at;
  while (before > 0 && ignorable(text[before - 1])) {
    --before;
  }
  std::size_t after = at + 1;
  while (after < text.size() && ignorable(text[after])) {
    ++after;
  }
  const bool final =
      before > 0 && is_cased(text[before - 1]) && !(after < text.size() && is_cased(text[after]));
  return final ? 0x3C2 : 0x3C3;
}

void append_lower(const std::vector<char32_t>& text, std::size_t at, std::string& out) {
  if (text[at] == 0x3A3) {
    append_utf8(out, lower_sigma(text, at));
  } else if (text[at] == 0x130) {
    out += "i\u0307";
  } else {
    append_utf8(out, simple(text[at], utf8proc_tolower));
  }
}

void append_title(char32_t c, std::string& out) {
  if (const auto special = special_upper(c)) {
    // Title case of these is the first letter upper, the rest lower.
    const std::vector<char32_t> letters = code_points(*special);
    append_utf8(out, letters[0]);
    for (std::size_t i = 1; i < letters.size(); ++i) {
      append_utf8(out, simple(letters[i], utf8proc_tolower));
    }
    return;
  }
  append_utf8(out, simple(c, utf8proc_totitle));
}

}  // namespace

bool is_python_space(char32_t c) {
  return is_whitespace(c) || (c >= 0x1C && c <= 0x1F);
}

bool is_name_char(char32_t c) {
  if (c < 0x80) {
    return (c >= U'0' && c <= U'9') || ((c | 0x20U) >= U'a' && (c | 0x20U) <= U'z') || c == U'_';
  }
  const auto category = category_of(c);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
         (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

bool is_printable(char32_t c) {
  if (c < 0x7F) {
    return c >= 0x20;
  }
  const auto category = category_of(c);
  return category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS;
}

std::string_view python_strip(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const CodePoint c = code_point_at(text, 0);
    if (!is_python_space(c.value)) {
      break;
    }
    text.remove_prefix(c.bytes);
  }
  while (right && !text.empty()) {
    const CodePoint c = code_point_before(text, text.size());
    if (!is_python_space(c.value)) {
      break;
    }
    text.remove_suffix(c.bytes);
  }
  return text;
}

std::string_view python_strip(std::string_view text, std::string_view characters, bool left,
                              bool right) {
  const auto listed = [&](CodePoint c, std::size_t at) {
    return characters.find(text.substr(at, c.bytes)) != std::string_view::npos;
  };
  while (left && !text.empty() && listed(code_point_at(text, 0), 0)) {
    text.remove_prefix(code_point_at(text, 0).bytes);
  }
  while (right && !text.empty()) {
    const CodePoint c = code_point_before(text, text.size());
    if (!listed(c, text.size() - c.bytes)) {
      break;
    }
    text.remove_suffix(c.bytes);
  }
  return text;
}

std::vector<char32_t> code_points(std::string_view text) {
  std::vector<char32_t> out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    out.push_back(c.value);
    at += c.bytes;
  }
  return out;
}

std::string from_code_points(const std::vector<char32_t>& text, std::size_t begin,
                             std::size_t end) {
  std::string out;
  for (std::size_t i = begin; i < end; ++i) {
    append_utf8(out, text[i]);
  }
  return out;
}

std::string python_lower(std::string_view text) {
  const std::vector<char32_t> letters = code_points(text);
  std::string out;
  for (std::size_t i = 0; i < letters.size(); ++i) {
    append_lower(letters, i, out);
  }
  return out;
}

std::string python_upper(std::string_view text) {
  std::string out;
  for (const char32_t c : code_points(text)) {
    if (const auto special = special_upper(c)) {
      out += *special;
    } else {
      append_utf8(out, simple(c, utf8proc_toupper));
    }
  }
  return out;
}

std::string python_title(std::string_view text) {
  const std::vector<char32_t> letters = code_points(text);
  std::string out;
  bool in_word = false;
  for (std::size_t i = 0; i < letters.size(); ++i) {
    if (in_word) {
      append_lower(letters, i, out);
    } else {
      append_title(letters[i], out);
    }
    in_word = is_cased(letters[i]);
  }
  return out;
}

std::string python_capitalize(std::string_view text) {
  const std::vector<char32_t> letters = code_points(text);
  std::string out;
  for (std::size_t i = 0; i < letters.size(); ++i) {
    if (i == 0) {
      append_title(letters[i], out);
    } else {
      append_lower(letters, i, out);
    }
  }
  return out;
}

bool is_kind(char32_t c, CharKind kind) {
  const auto category = category_of(c);
  const bool superscript = c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0x2070 && c <= 0x2089);
  switch (kind) {
    case CharKind::kLetter:
      return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
    case CharKind::kDecimal:
      return category == UTF8PROC_CATEGORY_ND;
    case CharKind::kDigit:
      return category == UTF8PROC_CATEGORY_ND ||
             (category == UTF8PROC_CATEGORY_NO && (superscript || (c >= 0x2460 && c <= 0x2468)));
    case CharKind::kNumeric:
      return is_numeric(c);
    case CharKind::kUpper:
      return category == UTF8PROC_CATEGORY_LU;
    case CharKind::kLower:
      return category == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA;
  }
  return false;
}

std::string python_float(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value > 0 ? "inf" : "-inf";
  }
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific);
  const std::string_view text(buffer.data(), static_cast<std::size_t>(end.ptr - buffer.data()));
  const std::size_t e = text.find('e');
  int exponent = 0;
  const std::size_t digits_at = e + 1 + (text[e + 1] == '+' ? 1 : 0);
  std::from_chars(text.data() + digits_at, text.data() + text.size(), exponent);
  std::string digits;
  std::string sign;
  for (const char c : text.substr(0, e)) {
    if (c == '-') {
      sign = "-";
    } else if (c != '.') {
      digits.push_back(c);
    }
  }
  if (exponent < -4 || exponent >= 16) {
    std::string out = sign + digits.substr(0, 1);
    if (digits.size() > 1) {
      out.append(".").append(digits, 1);
    }
    const int size = std::abs(exponent);
    return out.append(exponent < 0 ? "e-" : "e+").append(size < 10 ? "0" : "") +
           std::to_string(size);
  }
  if (exponent < 0) {
    return sign.append("0.") + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  }
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  }
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string python_quote(std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos;
  const bool both = single && text.find('"') != std::string_view::npos;
  const char quote = single && !both ? '"' : '\'';
  static constexpr std::string_view kHex = "0123456789abcdef";
  std::string out(1, quote);
  for (const char32_t c : code_points(text)) {
    if (c == static_cast<unsigned char>(quote) || c == U'\\') {
      out.push_back('\\');
      append_utf8(out, c);
    } else if (c == U'\n') {
      out += "\\n";
    } else if (c == U'\r') {
      out += "\\r";
    } else if (c == U'\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_utf8(out, c);
    } else {
      const int width = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
      out += width == 2 ? "\\x" : width == 4 ? "\\u" : "\\U";
      for (int shift = (width - 1) * 4; shift >= 0; shift -= 4) {
        out.push_back(kHex[(c >> static_cast<unsigned>(shift)) & 15U]);
      }
    }
  }
  out.push_back(quote);
  return out;
}

std::string html_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

}  // namespace mg::jinja
