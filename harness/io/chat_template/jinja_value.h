// The values of a chat template: what Python's None, bool, int, float, str, list, tuple, dict are
// to Jinja, and Jinja's own undefined, namespace, loop, macro.  A Value is a small handle; what it
// points to lives in a Heap until rendering ends, so that values may refer to each other in any
// way, and the Heap's budget bounds the memory of a template. Integers have 64 bits; a result that
// needs more is an error.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace mg::jinja {

struct Text;
struct List;
struct Dict;
struct Namespace;
struct Range;
struct View;
struct Iterator;
struct Callable;
struct Loop;
struct Cycle;
struct Slice;

/// The result of looking up what is not there; `why` is the message if it is used where Jinja
/// refuses it.
struct Undefined {
  const std::string* why = nullptr;
  bool unsafe = false;  // withheld by the sandbox
};
struct None {};

using Value = std::variant<Undefined, None, bool, std::int64_t, double, const Text*, const List*,
                           const Dict*, Namespace*, const Range*, const View*, Iterator*,
                           const Callable*, Loop*, Cycle*, const Slice*>;
using Values = std::vector<Value>;

struct Text {
  std::string text;     // UTF-8
  bool ascii = true;    // then positions are bytes
  bool markup = false;  // from |safe: joining it to plain text escapes the plain text
};

struct List {
  Values items;
  bool tuple = false;
};

/// In insertion order.  Keys are compared as Python does: 1, 1.0 and true are one key.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<std::string_view, std::size_t> by_text;  // of the keys that are texts

  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;
  void set(const Value& key, const Value& value);
};

struct Namespace {
  Dict attributes;
};

struct Range {
  std::int64_t start = 0;
  std::int64_t stop = 0;
  std::int64_t step = 1;
  std::int64_t size() const;
};

struct View {
  enum class Kind { kKeys, kValues, kItems };
  Kind kind;
  const Dict* dict;
};

/// A generator: can be gone through once, is always true, has no length.
struct Iterator {
  Values items;
  std::size_t next = 0;
};

/// [start:stop:step] between brackets; None where left out.
struct Slice {
  Value start;
  Value stop;
  Value step;
};

struct Loop {
  const Values* items;
  std::int64_t index0 = 0;
  std::int64_t depth0 = 0;
  std::optional<Values> last_changed;
  const Callable* recurse = nullptr;  // loop(...) of a recursive loop
};

/// cycler(...) and joiner(...)
struct Cycle {
  Values items;
  std::size_t next = 0;
  bool joiner = false;
  bool used = false;
};

struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

class Interpreter;
struct Scope;
struct MacroNode;
struct ForNode;
using Native = Value (*)(Interpreter&, const Value& self, Arguments& arguments);

/// A row of a table of functions by name (filters, tests, methods, globals).
struct NativeRow {
  std::string_view name;
  Native native;
};

/// nullptr where no row has the name.
Native find_native(std::span<const NativeRow> rows, std::string_view name);

struct Callable {
  std::string name;
  Native native = nullptr;  // else a macro, or a recursive loop
  Value self;               // of a method
  const MacroNode* macro = nullptr;
  const ForNode* loop = nullptr;
  Scope* closure = nullptr;
  std::int64_t depth = 0;  // of a recursive loop
};

/// Owns what values point to.
class Heap {
 public:
  explicit Heap(std::size_t limit_bytes) : limit_(limit_bytes) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  /// Counts `bytes` against the budget.  Throws Error "chat_template.limit".
  void charge(std::size_t bytes);

  const Text* text(std::string value, bool markup = false);
  List* list(Values items = {}, bool tuple = false);
  Dict* dict();
  Namespace* make_namespace();
  const Range* range(Range value);
  const View* view(View value);
  Iterator* iterator(Values items);
  Callable* callable(Callable value);
  Loop* loop(Loop value);
  Cycle* cycle(Cycle value);
  const Slice* slice(Slice value);
  const std::string* message(std::string text);

 private:
  template <typename T>
  T* keep(std::deque<T>& pool, T value, std::size_t extra);

  std::size_t limit_;
  std::size_t used_ = 0;
  std::deque<Text> texts_;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Namespace> namespaces_;
  std::deque<Range> ranges_;
  std::deque<View> views_;
  std::deque<Iterator> iterators_;
  std::deque<Callable> callables_;
  std::deque<Loop> loops_;
  std::deque<Cycle> cycles_;
  std::deque<Slice> slices_;
  std::deque<std::string> messages_;
};

inline bool is_undefined(const Value& value) {
  return std::holds_alternative<Undefined>(value);
}
inline bool is_none(const Value& value) {
  return std::holds_alternative<None>(value);
}

/// The text of a str, or nothing.
inline const Text* as_text(const Value& value) {
  const auto* text = std::get_if<const Text*>(&value);
  return text == nullptr ? nullptr : *text;
}
inline const List* as_list(const Value& value) {
  const auto* list = std::get_if<const List*>(&value);
  return list == nullptr ? nullptr : *list;
}
inline const Dict* as_dict(const Value& value) {
  const auto* dict = std::get_if<const Dict*>(&value);
  return dict == nullptr ? nullptr : *dict;
}

/// int and bool as an integer.
std::optional<std::int64_t> as_integer(const Value& value);
/// int, bool and float as a number.
std::optional<double> as_number(const Value& value);

/// Python's name of the type: "str", "NoneType", "dict", ...
std::string_view type_name(const Value& value);

bool is_true(const Value& value);
/// Python's ==.
bool equal(const Value& left, const Value& right);

}  // namespace mg::jinja
