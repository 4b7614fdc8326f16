#include "harness/io/chat_template/jinja_format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_text.h"
#include "harness/io/tokenizer/unicode.h"

namespace mg::jinja {
namespace {

constexpr int kMaxWidth = 10'000;

struct Spec {
  std::string fill = " ";
  char align = '\0';  // < > ^ =
  char sign = '-';
  bool alternate = false;
  int width = 0;
  bool comma = false;
  int precision = -1;
  char type = '\0';
};

int take_number(Interpreter& run, std::string_view text, std::size_t& at) {
  int value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    value = value * 10 + (text[at++] - '0');
    if (value > kMaxWidth) {
      run.fail("chat_template.limit", "a format's width is above 10000");
    }
  }
  return value;
}

std::string padded(std::string body, const Spec& spec, char default_align) {
  const auto size = static_cast<int>(count_code_points(body));
  if (size >= spec.width) {
    return body;
  }
  const char align = spec.align == '\0' ? default_align : spec.align;
  const int missing = spec.width - size;
  const auto fill = [&](int count) {
    std::string out;
    for (int i = 0; i < count; ++i) {
      out += spec.fill;
    }
    return out;
  };
  if (align == '<') {
    return body + fill(missing);
  }
  if (align == '^') {
    return fill(missing / 2) + body + fill(missing - missing / 2);
  }
  if (align == '=') {
    const std::size_t sign = !body.empty() && (body[0] == '-' || body[0] == '+' || body[0] == ' ');
    return body.substr(0, sign) + fill(missing) + body.substr(sign);
  }
  return fill(missing) + body;
}

std::string with_sign(std::string digits, bool negative, char sign) {
  const char* mark = negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : "";
  return mark + std::move(digits);
}

std::string with_commas(std::string digits) {
  const std::size_t whole = std::min(digits.find('.'), digits.size());
  for (std::size_t at = whole; at > 3; at -= 3) {
    digits.insert(at - 3, ",");
  }
  return digits;
}

std::string integer_text(std::int64_t value, const Spec& spec) {
  const auto size =
      value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  const char type = static_cast<char>(spec.type | 0x20);
  const int base = type == 'x' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  std::array<char, 65> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), size, base);
  std::string digits(buffer.data(), end.ptr);
  if (spec.type == 'X') {
    std::transform(digits.begin(), digits.end(), digits.begin(), [](char c) {
      return c >= 'a' && c <= 'f' ? static_cast<char>(c - 'a' + 'A') : c;
    });
  }
  if (spec.alternate && base != 10) {
    digits = std::string("0") + (spec.type == 'X' ? 'X' : type) + digits;
  }
  return with_sign(spec.comma ? with_commas(std::move(digits)) : std::move(digits), value < 0,
                   spec.sign);
}

std::string float_text(double value, const Spec& spec) {
  if (!std::isfinite(value)) {
    return with_sign(std::isnan(value) ? "nan" : "inf", value < 0, spec.sign);
  }
  const char type = static_cast<char>(spec.type | 0x20);
  if (type == 'g' && spec.alternate) {
    return {};
  }
  std::array<char, 512> buffer{};
  const auto format = type == 'e'   ? std::chars_format::scientific
                      : type == 'g' ? std::chars_format::general
                                    : std::chars_format::fixed;
  int precision = spec.precision < 0 ? 6 : std::min(spec.precision, 100);
  if (type == 'g' && precision == 0) {
    precision = 1;
  }
  const double shown = type == '%' ? value * 100 : value;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::fabs(shown),
                                 format, precision);
  std::string digits(buffer.data(), end.ptr);
  if (type == '%') {
    digits += '%';
  }
  return with_sign(spec.comma ? with_commas(std::move(digits)) : std::move(digits),
                   std::signbit(value), spec.sign);
}

std::string truncated(std::string text, int precision) {
  if (precision < 0) {
    return text;
  }
  const auto letters = code_points(text);
  return from_code_points(letters, 0,
                          std::min(letters.size(), static_cast<std::size_t>(precision)));
}

Spec parse_spec(Interpreter& run, std::string_view text) {
  Spec spec;
  std::size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (!text.empty()) {
    const CodePoint first = code_point_at(text, 0);
    if (first.bytes < text.size() && is_align(text[first.bytes])) {
      spec.fill = std::string(text.substr(0, first.bytes));
      spec.align = text[first.bytes];
      at = first.bytes + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) {
    spec.sign = text[at++];
  }
  if (at < text.size() && text[at] == '#') {
    spec.alternate = true;
    ++at;
  }
  if (at < text.size() && text[at] == '0') {
    if (spec.align == '\0') {
      spec.fill = "0";
      spec.align = '=';
    }
    ++at;
  }
  spec.width = take_number(run, text, at);
  if (at < text.size() && text[at] == ',') {
    spec.comma = true;
    ++at;
  }
  if (at < text.size() && text[at] == '.') {
    ++at;
    spec.precision = take_number(run, text, at);
  }
  if (at < text.size()) {
    spec.type = text[at++];
  }
  if (at != text.size() ||
      (spec.type != '\0' &&
       std::string_view("sdfFeEgGxXob%").find(spec.type) == std::string_view::npos)) {
    run.fail("chat_template.unsupported",
             "the format specification '" + std::string(text) + "' is not supported");
  }
  return spec;
}

std::string formatted(Interpreter& run, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) {
    return run.str(value);
  }
  const Spec spec = parse_spec(run, spec_text);
  const auto integer = as_integer(value);
  const auto number = as_number(value);
  const bool text_type = spec.type == '\0' || spec.type == 's';
  if (as_text(value) != nullptr && text_type && spec.align != '=') {
    return padded(truncated(as_text(value)->text, spec.precision), spec, '<');
  }
  if (integer && !std::holds_alternative<double>(value) &&
      std::string_view(std::string_view("\0dxXob", 6)).find(spec.type) != std::string_view::npos) {
    return padded(integer_text(*integer, spec), spec, '>');
  }
  if (number && std::string_view("fFeEgG%").find(spec.type) != std::string_view::npos) {
    return padded(float_text(*number, spec), spec, '>');
  }
  run.fail("chat_template.unsupported", "the format specification '" + std::string(spec_text) +
                                            "' is not supported for a " +
                                            std::string(type_name(value)));
}

// The value of one replacement field's name: "0.role", "message[role]".
Value field_value(Interpreter& run, std::string_view name, const Arguments& arguments,
                  int& automatic) {
  std::size_t at = std::min(name.find_first_of(".["), name.size());
  const std::string_view first = name.substr(0, at);
  Value value;
  const bool number =
      std::all_of(first.begin(), first.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (number) {
    std::size_t index = 0;
    if (first.empty()) {
      index = static_cast<std::size_t>(automatic++);
    } else {
      std::from_chars(first.data(), first.data() + first.size(), index);
    }
    if (index >= arguments.positional.size()) {
      run.fail_type("Replacement index " + std::to_string(index) +
                    " out of range for positional args tuple");
    }
    value = arguments.positional[index];
  } else {
    const auto found = std::find_if(arguments.keyword.begin(), arguments.keyword.end(),
                                    [&](const auto& item) { return item.first == first; });
    if (found == arguments.keyword.end()) {
      run.fail_type("format() lacks the argument '" + std::string(first) + "'");
    }
    value = found->second;
  }
  while (at < name.size()) {
    const bool item = name[at] == '[';
    const std::size_t end =
        std::min(item ? name.find(']', at) : name.find_first_of(".[", at + 1), name.size());
    const std::string key(name.substr(at + 1, end - at - 1));
    const bool digits = !key.empty() && key.find_first_not_of("0123456789") == std::string::npos;
    if (item && digits) {
      value = run.item(value, static_cast<std::int64_t>(std::stoll(key.substr(0, 9))));
    } else {
      value = item ? run.item(value, run.text(key)) : run.attribute(value, key);
    }
    run.need_defined(value);
    at = end + (item ? 1 : 0);
  }
  return value;
}

Spec percent_spec(Interpreter& run, std::string_view format, std::size_t& at, const auto& next) {
  Spec spec;
  spec.align = '>';
  for (; at < format.size() && std::string_view("-+ 0#").find(format[at]) != std::string_view::npos;
       ++at) {
    if (format[at] == '-') {
      spec.align = '<';
    } else if (format[at] == '0' && spec.align != '<') {
      spec.fill = "0";
      spec.align = '=';
    } else if (format[at] == '#') {
      spec.alternate = true;
    } else if (format[at] != '0') {
      spec.sign = format[at];
    }
  }
  const auto number = [&] {
    if (at < format.size() && format[at] == '*') {
      ++at;
      return static_cast<int>(
          std::clamp<std::int64_t>(run.need_integer(next(), "width"), 0, kMaxWidth));
    }
    return take_number(run, format, at);
  };
  spec.width = number();
  if (at < format.size() && format[at] == '.') {
    ++at;
    spec.precision = number();
  }
  if (at >= format.size()) {
    run.fail_type("incomplete format");
  }
  spec.type = format[at++];
  return spec;
}

std::string percent_text(Interpreter& run, Spec spec, const Value& value) {
  switch (spec.type) {
    case 's':
    case 'r':
      if (spec.align == '=') {
        spec.align = '>';
        spec.fill = " ";
      }
      return padded(truncated(spec.type == 's' ? run.str(value) : run.repr(value), spec.precision),
                    spec, '>');
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
      const auto number = as_number(value);
      if (!number) {
        run.fail_type(std::string("%") + spec.type + " format: a real number is required, not " +
                      std::string(type_name(value)));
      }
      const auto integer = as_integer(value);
      return padded(integer_text(integer ? *integer : static_cast<std::int64_t>(*number), spec),
                    spec, '>');
    }
    case 'f':
    case 'F':
    case 'e':
    case 'g': {
      const auto number = as_number(value);
      if (!number) {
        run.fail_type("must be real number, not " + std::string(type_name(value)));
      }
      return padded(float_text(*number, spec), spec, '>');
    }
    default:
      run.fail("chat_template.unsupported",
               std::string("the conversion %") + spec.type + " is not supported");
  }
}

/// What can be subscripted and is neither a tuple nor a text may go unused in Python's '%'
/// (unicodeobject.c asks PyMapping_Check, which a list passes).
bool may_go_unused(const Value& values) {
  const List* list = as_list(values);
  return as_dict(values) != nullptr || (list != nullptr && !list->tuple) ||
         std::holds_alternative<const Range*>(values) || is_undefined(values);
}

}  // namespace

std::string format_percent(Interpreter& run, std::string_view format, const Value& values) {
  const List* tuple = as_list(values);
  const bool many = tuple != nullptr && tuple->tuple;
  std::size_t used = 0;
  const auto next = [&]() -> Value {
    if (used >= (many ? tuple->items.size() : 1)) {
      run.fail_type("not enough arguments for format string");
    }
    return many ? tuple->items[used++] : (++used, values);
  };
  std::string out;
  for (std::size_t at = 0; at < format.size();) {
    if (format[at] != '%') {
      out.push_back(format[at++]);
      continue;
    }
    ++at;
    if (at < format.size() && format[at] == '%') {
      out.push_back('%');
      ++at;
      continue;
    }
    std::optional<Value> named;
    if (at < format.size() && format[at] == '(') {
      const std::size_t close = std::min(format.find(')', at), format.size());
      named = run.item(values, run.text(std::string(format.substr(at + 1, close - at - 1))));
      run.need_defined(*named);
      used = 1;
      at = std::min(close + 1, format.size());
    }
    const Spec spec = percent_spec(run, format, at, next);
    out += percent_text(run, spec, named ? *named : next());
  }
  if (used < (many ? tuple->items.size() : 1) && !may_go_unused(values)) {
    run.fail_type("not all arguments converted during string formatting");
  }
  return out;
}

std::string format_braces(Interpreter& run, std::string_view format, const Arguments& arguments) {
  std::string out;
  int automatic = 0;
  for (std::size_t at = 0; at < format.size();) {
    const char c = format[at++];
    if (c != '{' && c != '}') {
      out.push_back(c);
      continue;
    }
    if (at < format.size() && format[at] == c) {
      out.push_back(c);
      ++at;
      continue;
    }
    const std::size_t close = c == '{' ? format.find('}', at) : std::string_view::npos;
    if (close == std::string_view::npos) {
      run.fail_type(std::string("Single '") + c + "' encountered in format string");
    }
    const std::string_view field = format.substr(at, close - at);
    at = close + 1;
    if (field.find('{') != std::string_view::npos) {
      run.fail("chat_template.unsupported", "nested replacement fields are not supported");
    }
    const std::size_t colon = std::min(field.find(':'), field.size());
    std::string_view name = field.substr(0, colon);
    const std::string_view spec =
        colon < field.size() ? field.substr(colon + 1) : std::string_view();
    char conversion = '\0';
    if (name.size() >= 2 && name[name.size() - 2] == '!') {
      conversion = name.back();
      name.remove_suffix(2);
    }
    Value value = field_value(run, name, arguments, automatic);
    if (conversion != '\0') {
      value = run.text(conversion == 'r' ? run.repr(value) : run.str(value));
    }
    out += formatted(run, value, spec);
  }
  return out;
}

}  // namespace mg::jinja
