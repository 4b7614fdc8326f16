// Filters on texts and single values (jinja2/filters.py).
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "harness/io/chat_template/jinja_filters.h"
#include "harness/io/chat_template/jinja_format.h"
#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_json.h"
#include "harness/io/chat_template/jinja_text.h"
#include "harness/io/tokenizer/unicode.h"

namespace mg::jinja {
namespace {

// soft_str(): a Markup stays one.
Value soft_text(Interpreter& run, const Value& value) {
  return as_text(value) != nullptr ? value : run.text(run.str(value));
}

Value method_of(Interpreter& run, const Value& input, std::string_view name, Arguments arguments) {
  const Value text = soft_text(run, input);
  return find_method(text, name)(run, text, arguments);
}

template <const char* name>
Value by_method(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, name, {});
  return method_of(run, input, name, {});
}

constexpr char kCapitalize[] = "capitalize";
constexpr char kLower[] = "lower";
constexpr char kUpper[] = "upper";

Value trim(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "trim", {"chars"});
  return method_of(run, input, "strip", {bound[0] ? Values{*bound[0]} : Values{}, {}});
}

Value replace(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "replace", {"old", "new", "count"});
  Values given = {run.text(run.str(bound.need(0))), run.text(run.str(bound.need(1)))};
  if (bound[2] != nullptr && !is_none(*bound[2])) {
    given.push_back(*bound[2]);
  }
  return method_of(run, input, "replace", {std::move(given), {}});
}

Value center(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "center", {"width"});
  return method_of(run, input, "center", {{bound.integer(0, 80)}, {}});
}

// Words begin behind white space, '-' and opening brackets.
Value title(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "title", {});
  const std::vector<char32_t> letters = code_points(run.str(input));
  std::string out;
  std::string word;
  const auto flush = [&] {
    if (!word.empty()) {
      const auto parts = code_points(word);
      out +=
          python_upper(to_utf8(parts[0])) + python_lower(from_code_points(parts, 1, parts.size()));
      word.clear();
    }
  };
  for (const char32_t c : letters) {
    if (is_python_space(c) || std::u32string_view(U"-({[<").find(c) != std::u32string_view::npos) {
      flush();
      append_utf8(out, c);
    } else {
      append_utf8(word, c);
    }
  }
  flush();
  return run.text(std::move(out));
}

Value to_string(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "string", {});
  return soft_text(run, input);
}

Value safe(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "safe", {});
  return run.text(run.str(input), true);
}

Value escape(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "escape", {});
  const Text* text = as_text(input);
  return text != nullptr && text->markup ? input : run.text(html_escape(run.str(input)), true);
}

Value force_escape(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "forceescape", {});
  return run.text(html_escape(run.str(input)), true);
}

Value default_value(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "default", {"default_value", "boolean"});
  if (is_undefined(input) || (bound.flag(1, false) && !is_true(input))) {
    return bound[0] ? *bound[0] : run.text("");
  }
  return input;
}

Value to_int(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "int", {"default", "base"});
  const Value missing = bound[0] ? *bound[0] : Value(std::int64_t{0});
  run.need_defined(input);
  if (const auto integer = as_integer(input)) {
    return *integer;
  }
  if (const auto* number = std::get_if<double>(&input)) {
    if (!std::isfinite(*number) || std::fabs(*number) >= 9.2e18) {
      return missing;
    }
    return static_cast<std::int64_t>(*number);
  }
  const Text* text = as_text(input);
  if (text == nullptr) {
    return missing;
  }
  std::string digits(python_strip(text->text, true, true));
  std::erase(digits, '_');
  const bool plus = digits.starts_with('+');
  const char* first = digits.data() + (plus ? 1 : 0);
  const char* last = digits.data() + digits.size();
  std::int64_t integer = 0;
  const auto base = static_cast<int>(std::clamp<std::int64_t>(bound.integer(1, 10), 2, 36));
  const auto parsed = std::from_chars(first, last, integer, base);
  if (parsed.ec == std::errc() && parsed.ptr == last) {
    return integer;
  }
  double number = 0;
  const auto floated = std::from_chars(first, last, number);
  if (floated.ec == std::errc() && floated.ptr == last && std::isfinite(number) &&
      std::fabs(number) < 9.2e18) {
    return static_cast<std::int64_t>(number);
  }
  return missing;
}

Value to_float(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "float", {"default"});
  run.need_defined(input);
  if (const auto number = as_number(input)) {
    return *number;
  }
  if (const Text* text = as_text(input)) {
    std::string digits(python_strip(text->text, true, true));
    std::erase(digits, '_');
    const char* first = digits.data() + (digits.starts_with('+') ? 1 : 0);
    const char* last = digits.data() + digits.size();
    double number = 0;
    const auto parsed = std::from_chars(first, last, number);
    if (parsed.ec == std::errc() && parsed.ptr == last) {
      return number;
    }
  }
  return bound[0] ? *bound[0] : Value(0.0);
}

Value absolute(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "abs", {});
  run.need_defined(input);
  if (const auto* number = std::get_if<double>(&input)) {
    return std::fabs(*number);
  }
  const std::int64_t integer = run.need_integer(input, "abs()");
  return integer < 0 ? run.binary(BinaryOp::kSub, std::int64_t{0}, integer) : Value(integer);
}

// round(): half to even at the digit asked for, as Python's round; "ceil" and "floor" by name.
Value round(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "round", {"precision", "method"});
  const auto precision = static_cast<int>(std::clamp<std::int64_t>(bound.integer(0, 0), -300, 300));
  const std::string method = bound.text(1, "common");
  const auto number = as_number(input);
  if (!number) {
    run.need_defined(input);
    run.fail_type("type " + std::string(type_name(input)) + " doesn't define __round__ method");
  }
  if (method == "ceil" || method == "floor") {
    const double scale = std::pow(10.0, precision);
    const double scaled = *number * scale;
    return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
  }
  if (method != "common") {
    run.fail_type("method must be common, ceil or floor");
  }
  if (const auto integer = as_integer(input); integer && precision >= 0) {
    return *integer;
  }
  if (!std::isfinite(*number)) {
    return *number;
  }
  if (precision < 0) {
    const double scale = std::pow(10.0, -precision);
    const double rounded = std::nearbyint(*number / scale) * scale;
    return as_integer(input) ? Value(static_cast<std::int64_t>(rounded)) : Value(rounded);
  }
  std::array<char, 800> buffer{};  // correctly rounded decimal digits, then back
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), *number,
                                 std::chars_format::fixed, precision);
  double rounded = 0;
  std::from_chars(buffer.data(), end.ptr, rounded);
  return rounded;
}

Value format(Interpreter& run, const Value& input, Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.keyword.empty()) {
    run.fail_type("can't handle positional and keyword arguments at the same time");
  }
  Value values = run.heap().list(arguments.positional, true);
  if (!arguments.keyword.empty()) {
    Dict* dict = run.heap().dict();
    for (const auto& [key, value] : arguments.keyword) {
      dict->set(run.text(key), value);
    }
    values = dict;
  }
  const Value text = soft_text(run, input);
  return run.text(format_percent(run, as_text(text)->text, values), as_text(text)->markup);
}

Value indent(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "indent", {"width", "first", "blank"});
  std::string margin;
  if (bound[0] != nullptr && as_text(*bound[0]) != nullptr) {
    margin = as_text(*bound[0])->text;
  } else {
    const std::int64_t width = std::clamp<std::int64_t>(bound.integer(0, 4), 0, 10'000);
    margin.assign(static_cast<std::size_t>(width), ' ');
  }
  const Value source = soft_text(run, input);
  const std::string text =
      as_text(source)->text + "\n";  // so that splitlines() keeps a last empty line
  std::vector<std::string> lines;
  const Value list = method_of(run, run.text(text), "splitlines", {});
  for (const Value& line : as_list(list)->items) {
    lines.push_back(as_text(line)->text);
  }
  const bool blank = bound.flag(2, false);
  std::string out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    run.heap().charge(margin.size());
    const bool indented = i == 0 ? bound.flag(1, false) : blank || !lines[i].empty();
    out += i > 0 ? "\n" : "";
    out += indented ? margin + lines[i] : lines[i];
  }
  return run.text(std::move(out), as_text(source)->markup);
}

Value truncate(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "truncate", {"length", "killwords", "end", "leeway"});
  const std::string text = run.str(input);
  const std::string end = bound.text(2, "...");
  const auto letters = code_points(text);
  const std::int64_t length = bound.integer(0, 255);
  const std::int64_t leeway = bound[3] && !is_none(*bound[3]) ? bound.integer(3, 5) : 5;
  const auto end_size = static_cast<std::int64_t>(count_code_points(end));
  if (length < end_size || leeway < 0) {
    run.fail_type("expected length >= " + std::to_string(end_size) + ", got " +
                  std::to_string(length));
  }
  if (static_cast<std::int64_t>(letters.size()) <= length + leeway) {
    return run.text(text);
  }
  std::string cut = from_code_points(letters, 0, static_cast<std::size_t>(length - end_size));
  if (!bound.flag(1, false)) {
    cut = cut.substr(0, cut.rfind(' '));
  }
  return run.text(cut + end);
}

Value word_count(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "wordcount", {});
  std::int64_t words = 0;
  bool in_word = false;
  for (const char32_t c : code_points(run.str(input))) {
    const bool word = is_name_char(c);
    words += word && !in_word ? 1 : 0;
    in_word = word;
  }
  return words;
}

Value strip_tags(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "striptags", {});
  std::string text = run.str(input);
  const auto remove = [&text](std::string_view open, std::string_view close) {
    for (std::size_t at = text.find(open); at != std::string::npos; at = text.find(open, at)) {
      const std::size_t end = text.find(close, at + open.size());
      if (end == std::string::npos) {
        return;
      }
      text.erase(at, end + close.size() - at);
    }
  };
  remove("<!--", "-->");
  remove("<", ">");
  const Value words = method_of(run, run.text(text), "split", {});
  std::string out;
  for (const Value& word : as_list(words)->items) {
    out.append(out.empty() ? "" : " ").append(as_text(word)->text);
  }
  for (const auto& [entity, letter] : {std::pair{"&lt;", "<"},
                                       {"&gt;", ">"},
                                       {"&#39;", "'"},
                                       {"&#34;", "\""},
                                       {"&quot;", "\""},
                                       {"&amp;", "&"}}) {
    Arguments given{{run.text(entity), run.text(letter)}, {}};
    out = as_text(method_of(run, run.text(out), "replace", std::move(given)))->text;
  }
  return run.text(std::move(out));
}

Value url_encode(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "urlencode", {});
  if (as_dict(input) != nullptr || as_list(input) != nullptr) {
    run.fail("chat_template.unsupported", "urlencode of a list or dict is not supported");
  }
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : run.str(input)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte | 0x20U) >= 'a' && (byte | 0x20U) <= 'z';
    if (plain || (byte >= '0' && byte <= '9') ||
        std::string_view("_.-~/").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += {'%', kHex[byte >> 4U], kHex[byte & 15U]};
    }
  }
  return run.text(std::move(out));
}

Value to_json_filter(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "tojson",
                    {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = bound.flag(0, false);
  style.sorted = bound.flag(3, false);
  if (bound[1] != nullptr && !is_none(*bound[1])) {
    style.indented = true;
    style.item_separator = ",";
    const Text* text = as_text(*bound[1]);
    const std::int64_t width =
        text != nullptr ? 0 : std::clamp<std::int64_t>(bound.integer(1, 0), 0, 1000);
    style.indent = text != nullptr ? text->text : std::string(static_cast<std::size_t>(width), ' ');
  }
  if (bound[2] != nullptr && !is_none(*bound[2])) {
    const Values pair = run.iterate(*bound[2]);
    if (pair.size() != 2) {
      run.fail_type("separators must be two texts");
    }
    style.item_separator = run.need_text(pair[0], "separator").text;
    style.key_separator = run.need_text(pair[1], "separator").text;
  }
  return run.text(to_json(run, input, style));
}

Value pretty(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "pprint", {});
  const std::string text = run.repr(input);
  if (text.size() > 80 && as_text(input) == nullptr) {
    run.fail("chat_template.unsupported", "pprint of more than a line is not supported");
  }
  return run.text(text);
}

constexpr std::array kTextFilters = {
    NativeRow{"abs", absolute},
    NativeRow{"capitalize", by_method<kCapitalize>},
    NativeRow{"center", center},
    NativeRow{"d", default_value},
    NativeRow{"default", default_value},
    NativeRow{"e", escape},
    NativeRow{"escape", escape},
    NativeRow{"float", to_float},
    NativeRow{"forceescape", force_escape},
    NativeRow{"format", format},
    NativeRow{"indent", indent},
    NativeRow{"int", to_int},
    NativeRow{"lower", by_method<kLower>},
    NativeRow{"pprint", pretty},
    NativeRow{"replace", replace},
    NativeRow{"round", round},
    NativeRow{"safe", safe},
    NativeRow{"string", to_string},
    NativeRow{"striptags", strip_tags},
    NativeRow{"title", title},
    NativeRow{"tojson", to_json_filter},
    NativeRow{"trim", trim},
    NativeRow{"truncate", truncate},
    NativeRow{"upper", by_method<kUpper>},
    NativeRow{"urlencode", url_encode},
    NativeRow{"wordcount", word_count},
};

}  // namespace

Native find_text_filter(std::string_view name) {
  return find_native(kTextFilters, name);
}

Native find_filter(std::string_view name) {
  const Native native = find_text_filter(name);
  return native != nullptr ? native : find_list_filter(name);
}

}  // namespace mg::jinja
