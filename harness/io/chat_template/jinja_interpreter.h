// Runs a parsed template.  The semantics are those of Jinja2 3.1's ImmutableSandboxedEnvironment as
// transformers sets it up (transformers/utils/chat_template_utils.py): no attribute that begins
// with an underscore, no method that changes a value, ranges up to 100000; and a budget of steps
// and memory, because templates come from strangers. Not thread-safe; one object renders once.
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/chat_template/jinja_ast.h"
#include "harness/io/chat_template/jinja_value.h"

namespace mg::jinja {

struct Limits {
  std::int64_t steps = 20'000'000;  // expressions and statements evaluated
  std::size_t memory_bytes = std::size_t{512} << 20U;
};

/// Seconds since 1970 as a calendar shows them, without a time zone.
struct CalendarTime {
  int year = 1970;
  int month = 1;  // 1..12
  int day = 1;
  int hour = 0;
  int minute = 0;
  int second = 0;
};

/// Bytes [begin, end) of the rendered text that a {% generation %} block wrote.
struct GeneratedSpan {
  std::size_t begin;
  std::size_t end;
};

struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<NameId, Value>> values;
};

class Interpreter {
 public:
  Interpreter(const Template& source, Limits limits, std::optional<CalendarTime> now);
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  Heap& heap() { return heap_; }
  /// Renders with the variables of `context`.  Throws Error "chat_template.*" with the template's
  /// line.
  std::string render(const Dict& context);
  const std::vector<GeneratedSpan>& generated() const { return generated_; }

  // For methods, filters, tests and functions.
  [[noreturn]] void fail(std::string code, std::string what) const;
  /// A TypeError or ValueError of Python.
  [[noreturn]] void fail_type(std::string what) const {
    fail("chat_template.type", std::move(what));
  }
  /// Counts work against the budget.
  void tick(std::int64_t steps = 1);
  Value text(std::string value, bool markup = false) {
    return heap_.text(std::move(value), markup);
  }
  const std::optional<CalendarTime>& now() const { return now_; }

  std::string str(const Value& value);
  std::string repr(const Value& value, int depth = 0);
  /// What a for loop goes through.  An iterator is used up.
  Values iterate(const Value& value);
  std::int64_t length(const Value& value);
  /// object.name and object[index]; what is missing is undefined.
  Value attribute(const Value& object, std::string_view name);
  Value item(const Value& object, const Value& index);
  /// The dotted path of filters' attribute arguments: "a.b.0".
  Value path(const Value& object, const Value& attribute_path);
  Value call(const Value& callee, Arguments arguments);
  Value filter(std::string_view name, const Value& input, Arguments arguments);
  bool test(std::string_view name, const Value& input, Arguments arguments);
  Value binary(BinaryOp op, const Value& left, const Value& right);
  bool compare(CompareOp op, const Value& left, const Value& right);
  bool less(const Value& left, const Value& right) {
    return compare(CompareOp::kLess, left, right);
  }
  Value undefined(std::string why, bool unsafe = false);
  /// Throws Error "chat_template.undefined" for an undefined value.
  void need_defined(const Value& value) const;
  const Text& need_text(const Value& value, std::string_view what) const;
  std::int64_t need_integer(const Value& value, std::string_view what) const;

 private:
  enum class Flow { kNext, kBreak, kContinue };

  // Statements.
  Flow run(const Body& body, std::string& out);
  Flow run_one(const Stmt& statement, std::string& out);
  Flow exec(const TextNode& node, std::string& out);
  Flow exec(const PrintNode& node, std::string& out);
  Flow exec(const IfNode& node, std::string& out);
  Flow exec(const ForNode& node, std::string& out);
  Flow exec(const SetNode& node, std::string& out);
  Flow exec(const SetBlockNode& node, std::string& out);
  Flow exec(const MacroNode& node, std::string& out);
  Flow exec(const CallBlockNode& node, std::string& out);
  Flow exec(const FilterBlockNode& node, std::string& out);
  Flow exec(const GenerationNode& node, std::string& out);
  Flow exec(const WithNode& node, std::string& out);
  Flow exec(const BreakNode&, std::string&) { return Flow::kBreak; }
  Flow exec(const ContinueNode&, std::string&) { return Flow::kContinue; }
  Flow loop(const ForNode& node, const Values& items, std::int64_t depth, const Callable* recurse,
            std::string& out);
  std::string block_text(const Body& body);
  void assign(const Target& target, const Value& value);
  void assign_tuple(const Target& target, const Value& value);

  // Expressions.
  Value eval(const Expr& expression);
  Value evaluate(const ConstNode& node);
  Value evaluate(const NameNode& node);
  Value evaluate(const SequenceNode& node);
  Value evaluate(const DictNode& node);
  Value evaluate(const BinaryNode& node);
  Value evaluate(const UnaryNode& node);
  Value evaluate(const CompareNode& node);
  Value evaluate(const ConcatNode& node);
  Value evaluate(const ConditionNode& node);
  Value evaluate(const AttributeNode& node);
  Value evaluate(const ItemNode& node);
  Value evaluate(const SliceNode& node);
  Value evaluate(const CallNode& node);
  Value evaluate(const FilterNode& node);
  Value evaluate(const TestNode& node);
  Arguments arguments(const CallArgs& args);
  Value call_macro(const Callable& macro, Arguments& arguments);
  Value call_loop(const Callable& recursion, Arguments& arguments);
  Value slice_of(const Value& object, const Slice& slice);
  std::optional<Value> item_or_nothing(const Value& object, const Value& index);
  std::optional<Value> attribute_or_nothing(const Value& object, std::string_view name);

  Value integer_math(BinaryOp op, std::int64_t left, std::int64_t right);
  Value float_math(BinaryOp op, double left, double right);
  Value add(const Value& left, const Value& right);
  Value repeat(const Value& sequence, std::int64_t times);
  int order(const Value& left, const Value& right, std::string_view op);
  bool contains(const Value& container, const Value& value);

  const Value* find(NameId name) const;
  void set(NameId name, const Value& value);
  Scope* new_scope(Scope* parent);

  // Moves to another scope and back.
  struct Within;
  // Bounds the C++ stack.
  struct Depth;

  static constexpr int kMaxDepth = 1200;  // of nested evaluation

  const Template& template_;
  Heap heap_;
  std::int64_t steps_left_;
  std::optional<CalendarTime> now_;
  std::deque<Scope> scopes_;
  std::deque<Values> loop_items_;
  Scope* scope_ = nullptr;
  const Value* block_value_ = nullptr;  // the text for a block's filter
  std::string* root_output_ = nullptr;
  std::vector<GeneratedSpan> generated_;
  int line_ = 1;
  int depth_ = 0;  // at most kMaxDepth
};

/// The value a name has unless the template sets it: range, namespace, ...; nothing for others.
std::optional<Value> global(Interpreter& run, std::string_view name);
/// Methods of a value, by name.
Native find_method(const Value& value, std::string_view name);
Native find_filter(std::string_view name);
Native find_test(std::string_view name);

/// Positions the arguments of a native call by its parameters' names, as Python does.
class Bound {
 public:
  /// Throws Error "chat_template.type" for surplus and unknown arguments.
  Bound(Interpreter& run, Arguments& arguments, std::string_view function,
        std::initializer_list<std::string_view> parameters);

  /// The argument, or nullptr where left out.
  const Value* operator[](std::size_t i) const { return given_[i] ? &*given_[i] : nullptr; }
  /// Throws where left out.
  const Value& need(std::size_t i) const;
  bool flag(std::size_t i, bool missing) const;
  std::int64_t integer(std::size_t i, std::int64_t missing) const;
  std::string text(std::size_t i, std::string_view missing) const;

 private:
  Interpreter& run_;
  std::string function_;
  std::vector<std::string> names_;
  std::vector<std::optional<Value>> given_;
};

}  // namespace mg::jinja
