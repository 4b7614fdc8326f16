// Attributes, items, slices and iteration.
#include <algorithm>
#include <array>

#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_text.h"
#include "harness/io/tokenizer/unicode.h"

namespace mg::jinja {
namespace {

Value view_item(Heap& heap, const View& view, std::size_t i) {
  const auto& [key, value] = view.dict->items[i];
  switch (view.kind) {
    case View::Kind::kKeys:
      return key;
    case View::Kind::kValues:
      return value;
    default:
      return heap.list({key, value}, true);
  }
}

// Attributes of the variable `loop`.
std::optional<Value> loop_attribute(Interpreter& run, Loop& loop, std::string_view name) {
  const auto size = static_cast<std::int64_t>(loop.items->size());
  const std::int64_t at = loop.index0;
  if (name == "index0") {
    return at;
  }
  if (name == "index") {
    return at + 1;
  }
  if (name == "revindex") {
    return size - at;
  }
  if (name == "revindex0") {
    return size - at - 1;
  }
  if (name == "first") {
    return at == 0;
  }
  if (name == "last") {
    return at + 1 == size;
  }
  if (name == "length") {
    return size;
  }
  if (name == "depth" || name == "depth0") {
    return loop.depth0 + (name == "depth" ? 1 : 0);
  }
  if (name == "previtem") {
    return at == 0 ? run.undefined("there is no previous item")
                   : (*loop.items)[static_cast<std::size_t>(at - 1)];
  }
  if (name == "nextitem") {
    return at + 1 >= size ? run.undefined("there is no next item")
                          : (*loop.items)[static_cast<std::size_t>(at + 1)];
  }
  return std::nullopt;
}

// What changes a list or a dict, which ImmutableSandboxedEnvironment withholds.
bool is_mutator(const Value& object, std::string_view name) {
  static constexpr std::array<std::string_view, 8> kList = {"append", "clear", "pop",    "reverse",
                                                            "insert", "sort",  "extend", "remove"};
  static constexpr std::array<std::string_view, 5> kDict = {"clear", "pop", "popitem", "setdefault",
                                                            "update"};
  const List* list = as_list(object);
  if (list != nullptr && !list->tuple) {
    return std::find(kList.begin(), kList.end(), name) != kList.end();
  }
  return as_dict(object) != nullptr && std::find(kDict.begin(), kDict.end(), name) != kDict.end();
}

std::string describe(const Value& value) {
  return is_none(value) ? "None" : "'" + std::string(type_name(value)) + " object'";
}

}  // namespace

std::optional<Value> Interpreter::attribute_or_nothing(const Value& object, std::string_view name) {
  if (const auto* space = std::get_if<Namespace*>(&object)) {
    const Value* value = (*space)->attributes.find(name);
    return value == nullptr ? std::nullopt : std::optional<Value>(*value);
  }
  if (const auto* state = std::get_if<Loop*>(&object)) {
    if (const auto value = loop_attribute(*this, **state, name)) {
      return value;
    }
  }
  if (const auto* cycle = std::get_if<Cycle*>(&object); cycle != nullptr && name == "current") {
    return (*cycle)->items.empty() ? undefined("the cycler is empty")
                                   : (*cycle)->items[(*cycle)->next % (*cycle)->items.size()];
  }
  if (const auto* function = std::get_if<const Callable*>(&object);
      function != nullptr && (*function)->macro != nullptr && name == "name") {
    return text((*function)->name);
  }
  const std::string described(type_name(object));
  if (is_mutator(object, name) || (name.starts_with("__") && name.ends_with("__"))) {
    return undefined(
        "access to attribute '" + std::string(name) + "' of '" + described + "' object is unsafe.",
        true);
  }
  if (const Native native = find_method(object, name)) {
    Callable method;
    method.name = std::string(name);
    method.native = native;
    method.self = object;
    return heap_.callable(std::move(method));
  }
  return std::nullopt;
}

std::optional<Value> Interpreter::item_or_nothing(const Value& object, const Value& index) {
  if (const Dict* dict = as_dict(object)) {
    const Value* value = dict->find(index);
    return value == nullptr ? std::nullopt : std::optional<Value>(*value);
  }
  const auto position = as_integer(index);
  if (!position || std::holds_alternative<double>(index)) {
    return std::nullopt;
  }
  const auto at = [&](std::size_t size) -> std::optional<std::size_t> {
    const auto signed_size = static_cast<std::int64_t>(size);
    const std::int64_t i = *position < 0 ? *position + signed_size : *position;
    return i < 0 || i >= signed_size ? std::nullopt
                                     : std::optional<std::size_t>(static_cast<std::size_t>(i));
  };
  if (const List* list = as_list(object)) {
    const auto i = at(list->items.size());
    return i ? std::optional<Value>(list->items[*i]) : std::nullopt;
  }
  if (const Text* source = as_text(object)) {
    if (source->ascii) {
      const auto i = at(source->text.size());
      return i ? std::optional<Value>(text(source->text.substr(*i, 1), source->markup))
               : std::nullopt;
    }
    const auto letters = code_points(source->text);
    tick(static_cast<std::int64_t>(letters.size() / 64));
    const auto i = at(letters.size());
    return i ? std::optional<Value>(text(to_utf8(letters[*i]), source->markup)) : std::nullopt;
  }
  if (const auto* range = std::get_if<const Range*>(&object)) {
    const auto i = at(static_cast<std::size_t>((*range)->size()));
    return i ? std::optional<Value>((*range)->start +
                                    static_cast<std::int64_t>(*i) * (*range)->step)
             : std::nullopt;
  }
  return std::nullopt;
}

Value Interpreter::attribute(const Value& object, std::string_view name) {
  need_defined(object);
  if (const auto value = attribute_or_nothing(object, name)) {
    return *value;
  }
  if (const Dict* dict = as_dict(object)) {
    if (const Value* value = dict->find(name)) {
      return *value;
    }
  }
  return undefined(describe(object) + " has no attribute '" + std::string(name) + "'");
}

Value Interpreter::item(const Value& object, const Value& index) {
  need_defined(object);
  if (const auto* slice = std::get_if<const Slice*>(&index)) {
    return slice_of(object, **slice);
  }
  if (const auto value = item_or_nothing(object, index)) {
    return *value;
  }
  if (const Text* name = as_text(index)) {
    if (const auto value = attribute_or_nothing(object, name->text)) {
      return *value;
    }
    return undefined(describe(object) + " has no attribute " + python_quote(name->text));
  }
  return undefined(describe(object) + " has no element " +
                   (is_undefined(index) ? std::string("Undefined") : repr(index)));
}

Value Interpreter::path(const Value& object, const Value& attribute_path) {
  if (as_integer(attribute_path)) {
    return item(object, attribute_path);
  }
  Value value = object;
  const std::string_view names = need_text(attribute_path, "attribute").text;
  for (std::size_t at = 0; at <= names.size();) {
    const std::size_t dot = std::min(names.find('.', at), names.size());
    const std::string part(names.substr(at, dot - at));
    const bool digits = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    value = digits ? item(value, static_cast<std::int64_t>(std::stoll(part.substr(0, 9))))
                   : item(value, text(part));
    at = dot + 1;
  }
  return value;
}

// Python's slice.indices(): clamps to the sequence.
Value Interpreter::slice_of(const Value& object, const Slice& slice) {
  const Text* source = as_text(object);
  const List* list = as_list(object);
  const auto* range = std::get_if<const Range*>(&object);
  if (source == nullptr && list == nullptr && range == nullptr) {
    return undefined(describe(object) + " has no slices");
  }
  const std::int64_t size = length(object);
  const std::int64_t step = is_none(slice.step) ? 1 : need_integer(slice.step, "slice step");
  if (step == 0) {
    fail_type("slice step cannot be zero");
  }
  const auto clamp = [&](const Value& bound, std::int64_t missing) {
    if (is_none(bound)) {
      return missing;
    }
    std::int64_t at = need_integer(bound, "slice indices");
    at = at < 0 ? std::max<std::int64_t>(at, -size - 1) + size : at;
    return step > 0 ? std::clamp<std::int64_t>(at, 0, size)
                    : std::clamp<std::int64_t>(at, -1, size - 1);
  };
  const std::int64_t start = clamp(slice.start, step > 0 ? 0 : size - 1);
  const std::int64_t stop = clamp(slice.stop, step > 0 ? size : -1);
  std::vector<std::size_t> chosen;
  const std::int64_t stride = std::clamp<std::int64_t>(step, -size - 1, size + 1);
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop; i += stride) {
    chosen.push_back(static_cast<std::size_t>(i));
  }
  tick(static_cast<std::int64_t>(chosen.size() / 16));
  if (source != nullptr) {
    std::string out;
    if (source->ascii && step == 1) {
      out = start < stop ? source->text.substr(static_cast<std::size_t>(start), chosen.size()) : "";
    } else {
      const auto letters = code_points(source->text);
      for (const std::size_t i : chosen) {
        append_utf8(out, letters[i]);
      }
    }
    return text(std::move(out), source->markup);
  }
  const Values all = iterate(object);
  Values items;
  for (const std::size_t i : chosen) {
    items.push_back(all[i]);
  }
  return heap_.list(std::move(items), list != nullptr && list->tuple);
}

Values Interpreter::iterate(const Value& value) {
  Values out;
  if (const auto* missing = std::get_if<Undefined>(&value)) {
    if (missing->unsafe) {
      need_defined(value);
    }
    return out;
  }
  if (const List* list = as_list(value)) {
    heap_.charge(list->items.size());
    return list->items;
  }
  if (const Dict* dict = as_dict(value)) {
    for (const auto& item : dict->items) {
      out.push_back(item.first);
    }
    return out;
  }
  if (const Text* source = as_text(value)) {
    for (const char32_t c : code_points(source->text)) {
      tick();
      out.push_back(text(to_utf8(c), source->markup));
    }
    return out;
  }
  if (const auto* range = std::get_if<const Range*>(&value)) {
    for (std::int64_t i = 0; i < (*range)->size(); ++i) {
      out.emplace_back((*range)->start + i * (*range)->step);
    }
    return out;
  }
  if (const auto* view = std::get_if<const View*>(&value)) {
    for (std::size_t i = 0; i < (*view)->dict->items.size(); ++i) {
      out.push_back(view_item(heap_, **view, i));
    }
    return out;
  }
  if (const auto* iterator = std::get_if<Iterator*>(&value)) {
    out.assign((*iterator)->items.begin() + static_cast<std::ptrdiff_t>((*iterator)->next),
               (*iterator)->items.end());
    (*iterator)->next = (*iterator)->items.size();
    return out;
  }
  fail_type("'" + std::string(type_name(value)) + "' object is not iterable");
}

std::int64_t Interpreter::length(const Value& value) {
  if (is_undefined(value)) {
    return 0;
  }
  if (const Text* source = as_text(value)) {
    return static_cast<std::int64_t>(source->ascii ? source->text.size()
                                                   : count_code_points(source->text));
  }
  if (const List* list = as_list(value)) {
    return static_cast<std::int64_t>(list->items.size());
  }
  if (const Dict* dict = as_dict(value)) {
    return static_cast<std::int64_t>(dict->items.size());
  }
  if (const auto* range = std::get_if<const Range*>(&value)) {
    return (*range)->size();
  }
  if (const auto* view = std::get_if<const View*>(&value)) {
    return static_cast<std::int64_t>((*view)->dict->items.size());
  }
  if (const auto* loop = std::get_if<Loop*>(&value)) {
    return static_cast<std::int64_t>((*loop)->items->size());
  }
  fail_type("object of type '" + std::string(type_name(value)) + "' has no len()");
}

}  // namespace mg::jinja
