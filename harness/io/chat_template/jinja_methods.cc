// Methods of str, dict, list, tuple, loop and cycler that change nothing.
#include <algorithm>
#include <array>
#include <cmath>

#include "harness/io/chat_template/jinja_format.h"
#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_text.h"
#include "harness/io/tokenizer/unicode.h"

namespace mg::jinja {
namespace {

const Text& self_text(const Value& self) {
  return *as_text(self);
}

Value like(Interpreter& run, const Value& self, std::string value) {
  return run.text(std::move(value), self_text(self).markup);
}

template <std::string (*map)(std::string_view)>
Value mapped(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "method", {});
  return like(run, self, map(self_text(self).text));
}

std::string swap_case(std::string_view text) {
  std::string out;
  for (const char32_t c : code_points(text)) {
    const std::string letter = to_utf8(c);
    out += is_kind(c, CharKind::kUpper) ? python_lower(letter) : python_upper(letter);
  }
  return out;
}

template <bool left, bool right>
Value strip(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "strip", {"chars"});
  const std::string& text = self_text(self).text;
  if (bound[0] == nullptr || is_none(*bound[0])) {
    return like(run, self, std::string(python_strip(text, left, right)));
  }
  return like(run, self, std::string(python_strip(text, bound.text(0, ""), left, right)));
}

// startswith and endswith: one text, or a tuple of them; start and end as in a slice.
template <bool at_start>
Value starts_or_ends(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, at_start ? "startswith" : "endswith",
                    {"prefix", "start", "end"});
  Value part = self;
  if (bound[1] != nullptr || bound[2] != nullptr) {
    const Value none = None{};
    part = run.item(
        self, run.heap().slice({bound[1] ? *bound[1] : none, bound[2] ? *bound[2] : none, none}));
  }
  const std::string& text = as_text(part)->text;
  const auto matches = [&](const Value& value) {
    const std::string& word = run.need_text(value, "prefix").text;
    return at_start ? text.starts_with(word) : text.ends_with(word);
  };
  const List* tuple = as_list(bound.need(0));
  if (tuple != nullptr && tuple->tuple) {
    return std::any_of(tuple->items.begin(), tuple->items.end(), matches);
  }
  return matches(bound.need(0));
}

std::size_t occurrences(std::string_view text, std::string_view word) {
  std::size_t count = 0;
  for (std::size_t at = text.find(word); at != std::string_view::npos;
       at = text.find(word, at + word.size())) {
    ++count;
  }
  return count;
}

std::string replaced(Interpreter& run, std::string_view text, std::string_view from,
                     std::string_view to, std::int64_t count) {
  std::string out;
  const auto limit = count < 0 ? std::string_view::npos : static_cast<std::size_t>(count);
  std::size_t done = 0;
  std::size_t at = 0;
  if (from.empty()) {  // between all characters
    for (; done < limit && at <= text.size(); ++done) {
      run.heap().charge(to.size());
      out += to;
      const std::size_t bytes = at < text.size() ? code_point_at(text, at).bytes : 1;
      out += text.substr(std::min(at, text.size()), bytes);
      at += bytes;
    }
    return out.append(text.substr(std::min(at, text.size())));
  }
  while (done < limit) {
    const std::size_t found = text.find(from, at);
    if (found == std::string_view::npos) {
      break;
    }
    run.heap().charge(to.size());
    out.append(text.substr(at, found - at)).append(to);
    at = found + from.size();
    ++done;
  }
  return out.append(text.substr(at));
}

Value replace_text(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "replace", {"old", "new", "count"});
  run.need_text(bound.need(0), "old");
  run.need_text(bound.need(1), "new");
  return like(run, self,
              replaced(run, self_text(self).text, bound.text(0, ""), bound.text(1, ""),
                       bound.integer(2, -1)));
}

Value pieces(Interpreter& run, const Value& self, const std::vector<std::string>& parts) {
  Values items;
  for (const std::string& part : parts) {
    items.push_back(like(run, self, part));
  }
  return run.heap().list(std::move(items));
}

std::vector<std::string> split_space(std::string_view text, std::int64_t limit, bool from_right) {
  std::vector<std::string> out;
  text = python_strip(text, true, true);
  while (!text.empty()) {
    std::size_t cut = from_right ? text.size() : 0;
    const bool last = limit >= 0 && static_cast<std::int64_t>(out.size()) >= limit;
    while (!last && (from_right ? cut > 0 : cut < text.size())) {
      const CodePoint c = from_right ? code_point_before(text, cut) : code_point_at(text, cut);
      if (is_python_space(c.value)) {
        break;
      }
      cut = from_right ? cut - c.bytes : cut + c.bytes;
    }
    if (last) {
      cut = from_right ? 0 : text.size();
    }
    out.emplace_back(from_right ? text.substr(cut) : text.substr(0, cut));
    text = from_right ? python_strip(text.substr(0, cut), false, true)
                      : python_strip(text.substr(cut), true, false);
  }
  return out;
}

std::vector<std::string> split_word(std::string_view text, std::string_view word,
                                    std::int64_t limit, bool from_right) {
  std::vector<std::string> out;
  while (limit < 0 || static_cast<std::int64_t>(out.size()) < limit) {
    const std::size_t at = from_right ? text.rfind(word) : text.find(word);
    if (at == std::string_view::npos) {
      break;
    }
    out.emplace_back(from_right ? text.substr(at + word.size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + word.size());
  }
  out.emplace_back(text);
  return out;
}

template <bool from_right>
Value split(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "split", {"sep", "maxsplit"});
  const std::string& text = self_text(self).text;
  const std::int64_t limit = bound.integer(1, -1);
  std::vector<std::string> parts;
  if (bound[0] == nullptr || is_none(*bound[0])) {
    parts = split_space(text, limit, from_right);
  } else if (bound.text(0, "").empty()) {
    run.fail_type("empty separator");
  } else {
    parts = split_word(text, bound.text(0, ""), limit, from_right);
  }
  if (from_right) {
    std::reverse(parts.begin(), parts.end());
  }
  return pieces(run, self, parts);
}

Value splitlines(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "splitlines", {"keepends"});
  const bool keep = bound.flag(0, false);
  const std::string_view text = self_text(self).text;
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const bool ends = (c.value >= 0x0A && c.value <= 0x0D) ||
                      (c.value >= 0x1C && c.value <= 0x1E) || c.value == 0x85 ||
                      c.value == 0x2028 || c.value == 0x2029;
    std::size_t next = at + c.bytes;
    if (c.value == U'\r' && next < text.size() && text[next] == '\n') {
      ++next;
    }
    if (ends) {
      parts.emplace_back(text.substr(begin, (keep ? next : at) - begin));
      begin = next;
    }
    at = next;
  }
  if (begin < text.size()) {
    parts.emplace_back(text.substr(begin));
  }
  return pieces(run, self, parts);
}

template <bool from_right>
Value partition(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "partition", {"sep"});
  const std::string& text = self_text(self).text;
  run.need_text(bound.need(0), "sep");
  const std::string word = bound.text(0, "");
  if (word.empty()) {
    run.fail_type("empty separator");
  }
  const std::size_t at = from_right ? text.rfind(word) : text.find(word);
  if (at == std::string::npos) {
    const Value empty = like(run, self, "");
    return run.heap().list(from_right ? Values{empty, empty, self} : Values{self, empty, empty},
                           true);
  }
  return run.heap().list({like(run, self, text.substr(0, at)), like(run, self, word),
                          like(run, self, text.substr(at + word.size()))},
                         true);
}

// find, rfind, index, rindex: positions count characters.
template <bool from_right, bool must>
Value find(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, must ? "index" : "find", {"sub", "start", "end"});
  run.need_text(bound.need(0), "sub");
  const Value none = None{};
  const Value part = run.item(
      self, run.heap().slice({bound[1] ? *bound[1] : none, bound[2] ? *bound[2] : none, none}));
  const std::string& text = as_text(part)->text;
  const std::string word = bound.text(0, "");
  const std::size_t at = from_right ? text.rfind(word) : text.find(word);
  const std::int64_t size = run.length(self);
  std::int64_t start = bound.integer(1, 0);
  start = start < 0 ? std::max<std::int64_t>(start + size, 0) : start;
  if (at == std::string::npos || start > size) {
    if (must) {
      run.fail_type("substring not found");
    }
    return std::int64_t{-1};
  }
  return start + static_cast<std::int64_t>(count_code_points(std::string_view(text).substr(0, at)));
}

Value count(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "count", {"sub"});
  run.need_text(bound.need(0), "sub");
  const std::string word = bound.text(0, "");
  const std::string& text = self_text(self).text;
  return static_cast<std::int64_t>(word.empty() ? count_code_points(text) + 1
                                                : occurrences(text, word));
}

Value join_items(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "join", {"iterable"});
  std::string out;
  bool first = true;
  for (const Value& item : run.iterate(bound.need(0))) {
    run.heap().charge(self_text(self).text.size());
    out += first ? "" : self_text(self).text;
    out += run.need_text(item, "sequence item").text;
    first = false;
  }
  return like(run, self, std::move(out));
}

Value format_text(Interpreter& run, const Value& self, Arguments& arguments) {
  return like(run, self, format_braces(run, self_text(self).text, arguments));
}

template <bool prefix>
Value remove_affix(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, prefix ? "removeprefix" : "removesuffix", {"affix"});
  run.need_text(bound.need(0), "affix");
  const std::string word = bound.text(0, "");
  std::string_view text = self_text(self).text;
  if (prefix && text.starts_with(word)) {
    text.remove_prefix(word.size());
  } else if (!prefix && text.ends_with(word)) {
    text.remove_suffix(word.size());
  }
  return like(run, self, std::string(text));
}

// ljust, rjust, center, zfill.  center() puts the odd fill character left when the width is odd
// too.
template <char align>
Value justify(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "justify", {"width", "fillchar"});
  const std::int64_t width = run.need_integer(bound.need(0), "width");
  const std::string fill = align == '0' ? "0" : bound.text(1, " ");
  if (count_code_points(fill) != 1) {
    run.fail_type("The fill character must be exactly one character long");
  }
  const std::string& text = self_text(self).text;
  const std::int64_t missing = width - run.length(self);
  if (missing <= 0) {
    return self;
  }
  run.heap().charge(static_cast<std::size_t>(missing) * fill.size());
  const auto filled = [&](std::int64_t times) {
    std::string out;
    for (std::int64_t i = 0; i < times; ++i) {
      out += fill;
    }
    return out;
  };
  const std::int64_t left = align == '<'   ? 0
                            : align == '^' ? missing / 2 + (missing & width & 1)
                                           : missing;
  const std::size_t sign =
      align == '0' && !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  return like(run, self,
              text.substr(0, sign) + filled(left) + text.substr(sign) + filled(missing - left));
}

template <CharKind kind>
Value all_are(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "method", {});
  const auto letters = code_points(self_text(self).text);
  return !letters.empty() &&
         std::all_of(letters.begin(), letters.end(), [](char32_t c) { return is_kind(c, kind); });
}

// islower and isupper: at least one cased character, none of the other case.
template <CharKind kind, CharKind other>
Value is_case(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "method", {});
  const auto letters = code_points(self_text(self).text);
  const auto any = [&](CharKind wanted) {
    return std::any_of(letters.begin(), letters.end(),
                       [wanted](char32_t c) { return is_kind(c, wanted); });
  };
  return any(kind) && !any(other);
}

Value is_alnum(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "isalnum", {});
  const auto letters = code_points(self_text(self).text);
  return !letters.empty() && std::all_of(letters.begin(), letters.end(), [](char32_t c) {
    return is_kind(c, CharKind::kLetter) || is_kind(c, CharKind::kNumeric);
  });
}

Value is_space(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "isspace", {});
  const std::string& text = self_text(self).text;
  return !text.empty() && python_strip(text, true, false).empty();
}

Value is_ascii(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "isascii", {});
  return self_text(self).ascii;
}

Value is_title(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "istitle", {});
  const auto letters = code_points(self_text(self).text);
  bool in_word = false;
  bool any = false;
  for (const char32_t c : letters) {
    const bool upper = is_kind(c, CharKind::kUpper);
    const bool cased = upper || is_kind(c, CharKind::kLower);
    if (cased && upper == in_word) {
      return false;
    }
    any = any || cased;
    in_word = cased;
  }
  return any;
}

constexpr std::array kText = {
    NativeRow{"capitalize", mapped<python_capitalize>},
    NativeRow{"casefold", mapped<python_lower>},
    NativeRow{"center", justify<'^'>},
    NativeRow{"count", count},
    NativeRow{"endswith", starts_or_ends<false>},
    NativeRow{"find", find<false, false>},
    NativeRow{"format", format_text},
    NativeRow{"index", find<false, true>},
    NativeRow{"isalnum", is_alnum},
    NativeRow{"isalpha", all_are<CharKind::kLetter>},
    NativeRow{"isascii", is_ascii},
    NativeRow{"isdecimal", all_are<CharKind::kDecimal>},
    NativeRow{"isdigit", all_are<CharKind::kDigit>},
    NativeRow{"islower", is_case<CharKind::kLower, CharKind::kUpper>},
    NativeRow{"isnumeric", all_are<CharKind::kNumeric>},
    NativeRow{"isspace", is_space},
    NativeRow{"istitle", is_title},
    NativeRow{"isupper", is_case<CharKind::kUpper, CharKind::kLower>},
    NativeRow{"join", join_items},
    NativeRow{"ljust", justify<'<'>},
    NativeRow{"lower", mapped<python_lower>},
    NativeRow{"lstrip", strip<true, false>},
    NativeRow{"partition", partition<false>},
    NativeRow{"removeprefix", remove_affix<true>},
    NativeRow{"removesuffix", remove_affix<false>},
    NativeRow{"replace", replace_text},
    NativeRow{"rfind", find<true, false>},
    NativeRow{"rindex", find<true, true>},
    NativeRow{"rjust", justify<'>'>},
    NativeRow{"rpartition", partition<true>},
    NativeRow{"rsplit", split<true>},
    NativeRow{"rstrip", strip<false, true>},
    NativeRow{"split", split<false>},
    NativeRow{"splitlines", splitlines},
    NativeRow{"startswith", starts_or_ends<true>},
    NativeRow{"strip", strip<true, true>},
    NativeRow{"swapcase", mapped<swap_case>},
    NativeRow{"title", mapped<python_title>},
    NativeRow{"upper", mapped<python_upper>},
    NativeRow{"zfill", justify<'0'>},
};

Value dict_get(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "get", {"key", "default"});
  const Value* value = as_dict(self)->find(bound.need(0));
  return value != nullptr ? *value : bound[1] != nullptr ? *bound[1] : Value(None{});
}

template <View::Kind kind>
Value dict_view(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "view", {});
  return run.heap().view({kind, as_dict(self)});
}

Value copy(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "copy", {});
  return self;  // nothing can change either of the two
}

constexpr std::array kDict = {
    NativeRow{"copy", copy},
    NativeRow{"get", dict_get},
    NativeRow{"items", dict_view<View::Kind::kItems>},
    NativeRow{"keys", dict_view<View::Kind::kKeys>},
    NativeRow{"values", dict_view<View::Kind::kValues>},
};

Value list_count(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "count", {"value"});
  const Values& items = as_list(self)->items;
  return static_cast<std::int64_t>(std::count_if(
      items.begin(), items.end(), [&](const Value& item) { return equal(item, bound.need(0)); }));
}

Value list_index(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "index", {"value"});
  const Values& items = as_list(self)->items;
  const auto found = std::find_if(items.begin(), items.end(),
                                  [&](const Value& item) { return equal(item, bound.need(0)); });
  if (found == items.end()) {
    run.fail_type(run.repr(bound.need(0)) + " is not in list");
  }
  return static_cast<std::int64_t>(found - items.begin());
}

constexpr std::array kList = {NativeRow{"copy", copy}, NativeRow{"count", list_count},
                              NativeRow{"index", list_index}};

Value loop_cycle(Interpreter& run, const Value& self, Arguments& arguments) {
  if (arguments.positional.empty()) {
    run.fail_type("no items for cycling given");
  }
  const Loop& loop = **std::get_if<Loop*>(&self);
  return arguments.positional[static_cast<std::size_t>(loop.index0) % arguments.positional.size()];
}

Value loop_changed(Interpreter&, const Value& self, Arguments& arguments) {
  Loop& loop = **std::get_if<Loop*>(&self);
  const bool same = loop.last_changed && loop.last_changed->size() == arguments.positional.size() &&
                    std::equal(loop.last_changed->begin(), loop.last_changed->end(),
                               arguments.positional.begin(), equal);
  loop.last_changed = arguments.positional;
  return !same;
}

constexpr std::array kLoop = {NativeRow{"changed", loop_changed}, NativeRow{"cycle", loop_cycle}};

Value cycler_next(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "next", {});
  Cycle& cycle = **std::get_if<Cycle*>(&self);
  return cycle.items[cycle.next++ % cycle.items.size()];
}

Value cycler_reset(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "reset", {});
  (*std::get_if<Cycle*>(&self))->next = 0;
  return None{};
}

constexpr std::array kCycler = {NativeRow{"next", cycler_next}, NativeRow{"reset", cycler_reset}};

Value float_is_integer(Interpreter& run, const Value& self, Arguments& arguments) {
  const Bound bound(run, arguments, "is_integer", {});
  const double value = std::get<double>(self);
  return std::isfinite(value) && !(std::floor(value) < value);
}

constexpr std::array kFloat = {NativeRow{"is_integer", float_is_integer}};

}  // namespace

Native find_method(const Value& value, std::string_view name) {
  if (as_text(value) != nullptr) {
    return find_native(kText, name);
  }
  if (as_dict(value) != nullptr) {
    return find_native(kDict, name);
  }
  if (const List* list = as_list(value)) {
    return list->tuple && name == "copy" ? nullptr : find_native(kList, name);
  }
  if (std::holds_alternative<Loop*>(value)) {
    return find_native(kLoop, name);
  }
  if (const auto* cycle = std::get_if<Cycle*>(&value); cycle != nullptr && !(*cycle)->joiner) {
    return find_native(kCycler, name);
  }
  return std::holds_alternative<double>(value) ? find_native(kFloat, name) : nullptr;
}

}  // namespace mg::jinja
