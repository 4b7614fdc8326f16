// Filters on sequences (jinja2/filters.py).  Those that are generators there give an Iterator here:
// they can be gone through once and have no length.
#include <algorithm>
#include <array>
#include <optional>

#include "harness/io/chat_template/jinja_filters.h"
#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_text.h"

namespace mg::jinja {
namespace {

Value length(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "length", {});
  return run.length(input);
}

Value first(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "first", {});
  if (const auto* iterator = std::get_if<Iterator*>(&input)) {
    Iterator& items = **iterator;
    return items.next < items.items.size() ? items.items[items.next++]
                                           : run.undefined("No first item, sequence was empty.");
  }
  const Values items = run.iterate(input);
  return items.empty() ? run.undefined("No first item, sequence was empty.") : items.front();
}

Value last(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "last", {});
  if (std::holds_alternative<Iterator*>(input)) {
    run.fail_type("'generator' object is not reversible");
  }
  const Values items = run.iterate(input);
  return items.empty() ? run.undefined("No last item, sequence was empty.") : items.back();
}

Value to_list(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "list", {});
  return run.heap().list(run.iterate(input));
}

Value items(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "items", {});
  if (is_undefined(input)) {
    return run.heap().iterator({});
  }
  if (as_dict(input) == nullptr) {
    run.fail_type("Can only get item pairs from a mapping.");
  }
  return run.heap().iterator(run.iterate(run.heap().view({View::Kind::kItems, as_dict(input)})));
}

// The value filters compare by: an attribute of the item, texts without regard to case unless asked
// for.
Value sort_key(Interpreter& run, const Value& item, const Value* attribute, bool case_sensitive) {
  const Value value =
      attribute == nullptr || is_none(*attribute) ? item : run.path(item, *attribute);
  return as_text(value) != nullptr && !case_sensitive ? run.text(python_lower(as_text(value)->text))
                                                      : value;
}

void sort_by(Interpreter& run, Values& items, Values keys, bool reverse) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  // Stable in both directions, as Python's sort: equal items keep their order even reversed.
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return reverse ? run.less(keys[b], keys[a]) : run.less(keys[a], keys[b]);
  });
  Values sorted;
  for (const std::size_t i : order) {
    sorted.push_back(items[i]);
  }
  items = std::move(sorted);
}

Value sort(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "sort", {"reverse", "case_sensitive", "attribute"});
  Values values = run.iterate(input);
  const bool several = bound[2] != nullptr && as_text(*bound[2]) != nullptr &&
                       as_text(*bound[2])->text.find(',') != std::string::npos;
  Values keys;
  for (const Value& value : values) {
    if (!several) {
      keys.push_back(sort_key(run, value, bound[2], bound.flag(1, false)));
      continue;
    }
    Values parts;
    const std::string names = as_text(*bound[2])->text + ",";
    for (std::size_t at = 0; at < names.size();) {
      const std::size_t comma = names.find(',', at);
      const Value name = run.text(names.substr(at, comma - at));
      parts.push_back(sort_key(run, value, &name, bound.flag(1, false)));
      at = comma + 1;
    }
    keys.push_back(run.heap().list(std::move(parts)));
  }
  sort_by(run, values, std::move(keys), bound.flag(0, false));
  return run.heap().list(std::move(values));
}

Value dict_sort(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "dictsort", {"case_sensitive", "by", "reverse"});
  const std::string by = bound.text(1, "key");
  if (by != "key" && by != "value") {
    run.fail_type("You can only sort by either \"key\" or \"value\"");
  }
  run.need_defined(input);
  const Dict* dict = as_dict(input);
  if (dict == nullptr) {
    run.fail_type("dictsort needs a dict, not " + std::string(type_name(input)));
  }
  Values pairs;
  Values keys;
  for (const auto& [key, value] : dict->items) {
    pairs.emplace_back(run.heap().list({key, value}, true));
    keys.push_back(sort_key(run, by == "key" ? key : value, nullptr, bound.flag(0, false)));
  }
  sort_by(run, pairs, std::move(keys), bound.flag(2, false));
  return run.heap().list(std::move(pairs));
}

Value unique(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "unique", {"case_sensitive", "attribute"});
  Values seen;
  Values out;
  for (const Value& value : run.iterate(input)) {
    const Value key = sort_key(run, value, bound[1], bound.flag(0, false));
    run.tick(static_cast<std::int64_t>(seen.size() / 8));
    if (std::none_of(seen.begin(), seen.end(), [&](const Value& old) { return equal(old, key); })) {
      seen.push_back(key);
      out.push_back(value);
    }
  }
  return run.heap().iterator(std::move(out));
}

template <bool largest>
Value extreme(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, largest ? "max" : "min", {"case_sensitive", "attribute"});
  std::optional<Value> best;
  std::optional<Value> best_key;
  for (const Value& value : run.iterate(input)) {
    const Value key = sort_key(run, value, bound[1], bound.flag(0, false));
    if (!best || (largest ? run.less(*best_key, key) : run.less(key, *best_key))) {
      best = value;
      best_key = key;
    }
  }
  return best ? *best : run.undefined("No aggregated item, sequence was empty.");
}

Value sum(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "sum", {"attribute", "start"});
  Value total = bound[1] ? *bound[1] : Value(std::int64_t{0});
  if (as_text(total) != nullptr) {
    run.fail_type("sum() can't sum strings [use ''.join(seq) instead]");
  }
  for (const Value& value : run.iterate(input)) {
    const bool plain = bound[0] == nullptr || is_none(*bound[0]);
    total = run.binary(BinaryOp::kAdd, total, plain ? value : run.path(value, *bound[0]));
  }
  return total;
}

Value join(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "join", {"d", "attribute"});
  Values parts;
  const Value separator = bound[0] ? *bound[0] : run.text("");
  for (const Value& value : run.iterate(input)) {
    if (!parts.empty()) {
      parts.push_back(separator);
    }
    parts.push_back(bound[1] && !is_none(*bound[1]) ? run.path(value, *bound[1]) : value);
  }
  std::string out;
  for (const Value& part : parts) {  // autoescaping is off: a Markup does not escape the others
    const std::string text = run.str(part);
    run.heap().charge(text.size());
    out += text;
  }
  return run.text(std::move(out));
}

Value reverse(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "reverse", {});
  if (const Text* text = as_text(input)) {
    auto letters = code_points(text->text);
    std::reverse(letters.begin(), letters.end());
    return run.text(from_code_points(letters, 0, letters.size()), text->markup);
  }
  Values values = run.iterate(input);
  std::reverse(values.begin(), values.end());
  return run.heap().iterator(std::move(values));
}

Value batch(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "batch", {"linecount", "fill_with"});
  const std::int64_t size = run.need_integer(bound.need(0), "linecount");
  if (size < 1 || size > 100'000) {
    run.fail_type("batch sizes go from 1 to 100000");
  }
  Values out;
  Values line;
  for (const Value& value : run.iterate(input)) {
    if (static_cast<std::int64_t>(line.size()) == size) {
      out.emplace_back(run.heap().list(std::exchange(line, {})));
    }
    line.push_back(value);
  }
  if (!line.empty()) {
    while (bound[1] && !is_none(*bound[1]) && static_cast<std::int64_t>(line.size()) < size) {
      line.push_back(*bound[1]);
    }
    out.emplace_back(run.heap().list(std::move(line)));
  }
  return run.heap().iterator(std::move(out));
}

Value slice(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "slice", {"slices", "fill_with"});
  const std::int64_t slices = run.need_integer(bound.need(0), "slices");
  if (slices < 1 || slices > 100'000) {
    run.fail_type("slice counts go from 1 to 100000");
  }
  const Values values = run.iterate(input);
  const auto count = static_cast<std::size_t>(slices);
  const std::size_t size = values.size() / count;
  const std::size_t longer = values.size() % count;
  Values out;
  std::size_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t take = size + (i < longer ? 1 : 0);
    Values part(values.begin() + static_cast<std::ptrdiff_t>(at),
                values.begin() + static_cast<std::ptrdiff_t>(at + take));
    at += take;
    if (bound[1] && !is_none(*bound[1]) && longer > 0 && i >= longer) {
      part.push_back(*bound[1]);
    }
    out.emplace_back(run.heap().list(std::move(part)));
  }
  return run.heap().iterator(std::move(out));
}

Value attr(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "attr", {"name"});
  const std::string name = bound.text(0, "");
  // Attributes only, no items: of plain values these are methods.
  if (as_dict(input) != nullptr && find_method(input, name) == nullptr) {
    return run.undefined("'dict object' has no attribute '" + name + "'");
  }
  return run.attribute(input, name);
}

// Like choose() below, nothing at all of what is false: jinja2 asks `if value` first, so none maps.
Value map(Interpreter& run, const Value& input, Arguments& arguments) {
  if (!is_true(input)) {
    return run.heap().iterator({});
  }
  Values out;
  std::optional<Value> attribute;
  std::optional<Value> missing;
  Arguments rest;
  if (arguments.positional.empty()) {
    for (const auto& [key, value] : arguments.keyword) {
      if (key == "attribute") {
        attribute = value;
      } else if (key == "default") {
        missing = value;
      } else {
        run.fail_type("Unexpected keyword argument '" + key + "'");
      }
    }
    if (!attribute) {
      run.fail_type("map requires a filter argument");
    }
  } else {
    rest = {{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.keyword};
  }
  for (const Value& value : run.iterate(input)) {
    if (!attribute) {
      out.push_back(
          run.filter(run.need_text(arguments.positional[0], "filter name").text, value, rest));
      continue;
    }
    Value found = run.path(value, *attribute);
    out.push_back(missing && is_undefined(found) ? *missing : std::move(found));
  }
  return run.heap().iterator(std::move(out));
}

// select, reject, selectattr, rejectattr: keep what a test holds of, or the truth itself.
template <bool keep, bool by_attribute>
Value choose(Interpreter& run, const Value& input, Arguments& arguments) {
  if (!is_true(input)) {
    return run.heap().iterator({});
  }
  const std::size_t skip = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty()) {
    run.fail_type("Missing parameter for attribute name");
  }
  const bool tested = arguments.positional.size() > skip;
  Arguments rest;
  if (tested) {
    rest = {{arguments.positional.begin() + static_cast<std::ptrdiff_t>(skip) + 1,
             arguments.positional.end()},
            arguments.keyword};
  }
  Values out;
  for (const Value& value : run.iterate(input)) {
    run.tick();
    const Value subject = by_attribute ? run.path(value, arguments.positional[0]) : value;
    const bool holds =
        tested
            ? run.test(run.need_text(arguments.positional[skip], "test name").text, subject, rest)
            : is_true(subject);
    if (holds == keep) {
      out.push_back(value);
    }
  }
  return run.heap().iterator(std::move(out));
}

Value group_by(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "groupby", {"attribute", "default", "case_sensitive"});
  const bool case_sensitive = bound.flag(2, false);
  const auto key_of = [&](const Value& value) {
    const Value found = run.path(value, bound.need(0));
    return is_undefined(found) && bound[1] ? *bound[1] : found;
  };
  const auto fold = [&](const Value& key) { return sort_key(run, key, nullptr, case_sensitive); };
  Values values = run.iterate(input);
  Values keys;
  for (const Value& value : values) {
    keys.push_back(fold(key_of(value)));
  }
  sort_by(run, values, keys, false);
  Values out;
  std::optional<Value> current;
  Value shown;
  Values group;
  const auto flush = [&] {
    if (current) {
      out.emplace_back(run.heap().list({shown, run.heap().list(std::exchange(group, {}))}, true));
    }
  };
  for (const Value& value : values) {
    const Value key = fold(key_of(value));
    if (!current || !equal(*current, key)) {
      flush();
      current = key;
      shown = key_of(value);
    }
    group.push_back(value);
  }
  flush();
  return run.heap().list(std::move(out));
}

constexpr std::array kListFilters = {
    NativeRow{"attr", attr},
    NativeRow{"batch", batch},
    NativeRow{"count", length},
    NativeRow{"dictsort", dict_sort},
    NativeRow{"first", first},
    NativeRow{"groupby", group_by},
    NativeRow{"items", items},
    NativeRow{"join", join},
    NativeRow{"last", last},
    NativeRow{"length", length},
    NativeRow{"list", to_list},
    NativeRow{"map", map},
    NativeRow{"max", extreme<true>},
    NativeRow{"min", extreme<false>},
    NativeRow{"reject", choose<false, false>},
    NativeRow{"rejectattr", choose<false, true>},
    NativeRow{"reverse", reverse},
    NativeRow{"select", choose<true, false>},
    NativeRow{"selectattr", choose<true, true>},
    NativeRow{"slice", slice},
    NativeRow{"sort", sort},
    NativeRow{"sum", sum},
    NativeRow{"unique", unique},
};

}  // namespace

Native find_list_filter(std::string_view name) {
  return find_native(kListFilters, name);
}

}  // namespace mg::jinja
