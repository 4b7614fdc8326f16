#include "harness/io/chat_template/jinja_value.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/core/error.h"

namespace mg::jinja {
namespace {

// Of nested containers compared; deeper ones come only from hostile input.
constexpr int kMaxCompared = 200;

bool equal_at(const Value& left, const Value& right, int depth);

bool equal_items(const Values& left, const Values& right, int depth) {
  return left.size() == right.size() &&
         std::equal(left.begin(), left.end(), right.begin(),
                    [depth](const Value& a, const Value& b) { return equal_at(a, b, depth + 1); });
}

bool equal_dicts(const Dict& left, const Dict& right, int depth) {
  return left.items.size() == right.items.size() &&
         std::all_of(left.items.begin(), left.items.end(), [&](const auto& item) {
           const Value* other = right.find(item.first);
           return other != nullptr && equal_at(item.second, *other, depth + 1);
         });
}

bool equal_at(const Value& left, const Value& right, int depth) {
  if (depth > kMaxCompared) {
    throw Error({.code = "chat_template.limit",
                 .what = "values are nested too deeply to compare",
                 .where = {},
                 .expected = {},
                 .actual = {},
                 .hint = {}});
  }
  const auto left_integer = as_integer(left);
  const auto right_integer = as_integer(right);
  if (left_integer && right_integer) {
    return *left_integer == *right_integer;
  }
  const auto left_number = as_number(left);
  const auto right_number = as_number(right);
  if (left_number || right_number) {
    return left_number && right_number && !(*left_number < *right_number) &&
           !(*left_number > *right_number) && !std::isnan(*left_number);
  }
  if (left.index() != right.index()) {
    return false;
  }
  if (is_undefined(left) || is_none(left)) {
    return true;
  }
  if (const Text* text = as_text(left)) {
    return text->text == as_text(right)->text;
  }
  if (const List* list = as_list(left)) {
    return list->tuple == as_list(right)->tuple &&
           equal_items(list->items, as_list(right)->items, depth);
  }
  if (const Dict* dict = as_dict(left)) {
    return equal_dicts(*dict, *as_dict(right), depth);
  }
  return left.index() == right.index() && std::visit(
                                              [&](const auto& value) {
                                                using T = std::decay_t<decltype(value)>;
                                                if constexpr (std::is_pointer_v<T>) {
                                                  return value == std::get<T>(right);
                                                } else {
                                                  return false;
                                                }
                                              },
                                              left);
}

}  // namespace

Native find_native(std::span<const NativeRow> rows, std::string_view name) {
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [name](const NativeRow& row) { return row.name == name; });
  return found == rows.end() ? nullptr : found->native;
}

const Value* Dict::find(std::string_view key) const {
  const auto found = by_text.find(key);
  return found == by_text.end() ? nullptr : &items[found->second].second;
}

const Value* Dict::find(const Value& key) const {
  if (const Text* text = as_text(key)) {
    return find(text->text);
  }
  for (const auto& [known, value] : items) {
    if (as_text(known) == nullptr && equal(known, key)) {
      return &value;
    }
  }
  return nullptr;
}

void Dict::set(const Value& key, const Value& value) {
  if (const Value* known = find(key)) {
    items[static_cast<std::size_t>(
              std::find_if(items.begin(), items.end(),
                           [known](const auto& item) { return &item.second == known; }) -
              items.begin())]
        .second = value;
    return;
  }
  if (const Text* text = as_text(key)) {
    by_text.emplace(text->text, items.size());
  }
  items.emplace_back(key, value);
}

std::int64_t Range::size() const {
  if (step > 0) {
    return start < stop ? (stop - start - 1) / step + 1 : 0;
  }
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

void Heap::charge(std::size_t bytes) {
  used_ += bytes;
  if (used_ > limit_) {
    throw Error({.code = "chat_template.limit",
                 .what = "the template used too much memory",
                 .where = {},
                 .expected = "at most " + std::to_string(limit_) + " bytes",
                 .actual = {},
                 .hint = "templates are run with bounded memory and steps"});
  }
}

template <typename T>
T* Heap::keep(std::deque<T>& pool, T value, std::size_t extra) {
  charge(sizeof(T) + extra);
  return &pool.emplace_back(std::move(value));
}

const Text* Heap::text(std::string value, bool markup) {
  const std::size_t size = value.size();
  const bool ascii = std::all_of(value.begin(), value.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  return keep(texts_, Text{std::move(value), ascii, markup}, size);
}

List* Heap::list(Values items, bool tuple) {
  const std::size_t size = items.size() * sizeof(Value);
  return keep(lists_, List{std::move(items), tuple}, size);
}

Dict* Heap::dict() {
  return keep(dicts_, Dict{}, 0);
}
Namespace* Heap::make_namespace() {
  return keep(namespaces_, Namespace{}, 0);
}
const Range* Heap::range(Range value) {
  return keep(ranges_, value, 0);
}
const View* Heap::view(View value) {
  return keep(views_, value, 0);
}
Iterator* Heap::iterator(Values items) {
  const std::size_t size = items.size() * sizeof(Value);
  return keep(iterators_, Iterator{std::move(items), 0}, size);
}
Callable* Heap::callable(Callable value) {
  return keep(callables_, std::move(value), 0);
}
Loop* Heap::loop(Loop value) {
  return keep(loops_, std::move(value), 0);
}
Cycle* Heap::cycle(Cycle value) {
  return keep(cycles_, std::move(value), 0);
}
const Slice* Heap::slice(Slice value) {
  return keep(slices_, std::move(value), 0);
}
const std::string* Heap::message(std::string text) {
  const std::size_t size = text.size();
  return keep(messages_, std::move(text), size);
}

std::optional<std::int64_t> as_integer(const Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    return *integer;
  }
  if (const auto* flag = std::get_if<bool>(&value)) {
    return *flag ? 1 : 0;
  }
  return std::nullopt;
}

std::optional<double> as_number(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) {
    return *number;
  }
  const auto integer = as_integer(value);
  return integer ? std::optional<double>(static_cast<double>(*integer)) : std::nullopt;
}

std::string_view type_name(const Value& value) {
  static constexpr std::array<std::string_view, std::variant_size_v<Value>> kNames = {
      "Undefined", "NoneType",    "bool",      "int",   "float",      "str",
      "list",      "dict",        "Namespace", "range", "dict_items", "generator",
      "function",  "LoopContext", "Cycler",    "slice"};
  if (const List* list = as_list(value); list != nullptr && list->tuple) {
    return "tuple";
  }
  return kNames[value.index()];
}

bool is_true(const Value& value) {
  if (is_undefined(value) || is_none(value)) {
    return false;
  }
  if (const auto number = as_number(value)) {
    return *number < 0 || *number > 0 || std::isnan(*number);
  }
  if (const Text* text = as_text(value)) {
    return !text->text.empty();
  }
  if (const List* list = as_list(value)) {
    return !list->items.empty();
  }
  if (const Dict* dict = as_dict(value)) {
    return !dict->items.empty();
  }
  if (const auto* range = std::get_if<const Range*>(&value)) {
    return (*range)->size() > 0;
  }
  if (const auto* view = std::get_if<const View*>(&value)) {
    return !(*view)->dict->items.empty();
  }
  if (const auto* loop = std::get_if<Loop*>(&value)) {
    return !(*loop)->items->empty();
  }
  return true;
}

bool equal(const Value& left, const Value& right) {
  return equal_at(left, right, 0);
}

}  // namespace mg::jinja
