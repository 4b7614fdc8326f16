#include "reports/text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

namespace mg {
namespace {

/// Controls, line and paragraph separators, and marks that change the direction of what follows.
bool is_unsafe(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029 ||
         (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) ||
         code == 0x200E || code == 0x200F || code == 0x061C || code == 0xFEFF || code == 0xFFFE ||
         code == 0xFFFF;  // XML has no way to hold these two
}

std::string escaped(char32_t code) {
  switch (code) {
    case U'\n':
      return "\\n";
    case U'\r':
      return "\\r";
    case U'\t':
      return "\\t";
    default:
      return code < 0x100 ? fmt::format("\\x{:02x}", static_cast<unsigned>(code))
                          : fmt::format("\\u{:04x}", static_cast<unsigned>(code));
  }
}

std::size_t character_width(char32_t code) {
  const int width = utf8proc_charwidth(static_cast<utf8proc_int32_t>(code));
  return width > 0 ? static_cast<std::size_t>(width) : 0;
}

/// The longest prefix of at most `width` columns.
std::string_view prefix_of(std::string_view text, std::size_t width) {
  std::size_t used = 0;
  std::size_t bytes = 0;
  while (bytes < text.size()) {
    const Utf8Character next = front_character(text.substr(bytes));
    used += character_width(next.code);
    if (used > width) {
      break;
    }
    bytes += next.bytes.size();
  }
  return text.substr(0, bytes);
}

/// The longest suffix of at most `width` columns.
std::string_view suffix_of(std::string_view text, std::size_t width) {
  std::size_t columns = display_width(text);
  while (columns > width) {
    const Utf8Character next = front_character(text);
    columns -= character_width(next.code);
    text.remove_prefix(next.bytes.size());
  }
  return text;
}

}  // namespace

Utf8Character front_character(std::string_view text) {
  utf8proc_int32_t code = 0;
  const utf8proc_ssize_t bytes =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                       static_cast<utf8proc_ssize_t>(text.size()), &code);
  if (bytes < 1) {
    return {text.substr(0, 1), U'\uFFFD', false};
  }
  return {text.substr(0, static_cast<std::size_t>(bytes)), static_cast<char32_t>(code), true};
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Character next = front_character(text);
    out += next.valid ? next.bytes : "\xEF\xBF\xBD";
    text.remove_prefix(next.bytes.size());
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Character next = front_character(text);
    if (!next.valid) {
      out += "\xEF\xBF\xBD";
    } else if (is_unsafe(next.code)) {
      out += escaped(next.code);
    } else {
      out += next.bytes;
    }
    text.remove_prefix(next.bytes.size());
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Utf8Character next = front_character(text);
    width += character_width(next.code);
    text.remove_prefix(next.bytes.size());
  }
  return width;
}

std::string pad_right(std::string_view text, std::size_t width) {
  std::string out(text);
  const std::size_t used = display_width(text);
  out.append(used < width ? width - used : 0, ' ');
  return out;
}

std::string pad_left(std::string_view text, std::size_t width) {
  const std::size_t used = display_width(text);
  std::string out(used < width ? width - used : 0, ' ');
  out += text;
  return out;
}

std::string fit(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) {
    return std::string(text);
  }
  constexpr std::string_view kMark = "...";
  if (width <= kMark.size()) {
    return std::string(kMark.substr(0, width));
  }
  const std::size_t rest = width - kMark.size();
  std::string out(prefix_of(text, (rest + 1) / 2));
  out += kMark;
  out += suffix_of(text, rest / 2);
  return out;
}

std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines;
  std::string line;
  const auto flush = [&] {
    lines.push_back(std::move(line));
    line.clear();
  };
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && display_width(line) + 1 + display_width(word) > width) {
      flush();
    }
    while (display_width(word) > width) {
      const std::string_view part = prefix_of(word, width);
      if (part.empty()) {  // one character is wider than the line: it stands alone
        break;
      }
      line = part;
      word.remove_prefix(part.size());
      flush();
    }
    if (!line.empty()) {
      line += ' ';
    }
    line += word;
  }
  if (!line.empty() || lines.empty()) {
    flush();
  }
  return lines;
}

}  // namespace mg
