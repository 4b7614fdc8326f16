// Tests: what may follow `is` (jinja2/tests.py).
#include <algorithm>
#include <array>

#include "harness/io/chat_template/jinja_filters.h"
#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_text.h"

namespace mg::jinja {
namespace {

template <bool (*holds)(const Value&)>
Value plain(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "test", {});
  return holds(input);
}

bool is_defined(const Value& value) {
  return !is_undefined(value);
}
bool is_not_defined(const Value& value) {
  return is_undefined(value);
}
bool is_none_value(const Value& value) {
  return is_none(value);
}
bool is_boolean(const Value& value) {
  return std::holds_alternative<bool>(value);
}
bool is_exactly_true(const Value& value) {
  return is_boolean(value) && std::get<bool>(value);
}
bool is_exactly_false(const Value& value) {
  return is_boolean(value) && !std::get<bool>(value);
}
bool is_integer(const Value& value) {
  return std::holds_alternative<std::int64_t>(value);
}
bool is_float(const Value& value) {
  return std::holds_alternative<double>(value);
}
bool is_number(const Value& value) {
  return as_number(value).has_value();
}
bool is_string(const Value& value) {
  return as_text(value) != nullptr;
}
bool is_mapping(const Value& value) {
  return as_dict(value) != nullptr;
}
bool is_escaped(const Value& value) {
  return as_text(value) != nullptr && as_text(value)->markup;
}

bool is_iterable(const Value& value) {
  return is_undefined(value) || as_text(value) != nullptr || as_list(value) != nullptr ||
         as_dict(value) != nullptr || std::holds_alternative<const Range*>(value) ||
         std::holds_alternative<const View*>(value) || std::holds_alternative<Iterator*>(value) ||
         std::holds_alternative<Loop*>(value);
}

// Whatever has a length and a __getitem__; Jinja's undefined has both.
bool is_sequence(const Value& value) {
  return is_undefined(value) || as_text(value) != nullptr || as_list(value) != nullptr ||
         as_dict(value) != nullptr || std::holds_alternative<const Range*>(value);
}

bool is_callable(const Value& value) {
  return std::holds_alternative<const Callable*>(value) || std::holds_alternative<Loop*>(value) ||
         is_undefined(value) || std::holds_alternative<Cycle*>(value);
}

template <bool upper>
Value is_case(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "test", {});
  const Value text = run.text(run.str(input));
  Arguments none;
  return find_method(text, upper ? "isupper" : "islower")(run, text, none);
}

template <std::int64_t remainder>
Value is_parity(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "test", {});
  const Value rest = run.binary(BinaryOp::kMod, input, std::int64_t{2});
  return equal(rest, remainder);
}

Value divisible_by(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "divisibleby", {"num"});
  return equal(run.binary(BinaryOp::kMod, input, bound.need(0)), std::int64_t{0});
}

template <CompareOp op>
Value compares(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "test", {"other"});
  return run.compare(op, input, bound.need(0));
}

Value is_in(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "in", {"seq"});
  return run.compare(CompareOp::kIn, input, bound.need(0));
}

// The same object.  Small values are one object in Python where they are equal and of one type.
Value same_as(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "sameas", {"other"});
  const Value& other = bound.need(0);
  if (input.index() != other.index()) {
    return false;
  }
  if (const List* list = as_list(input)) {
    return list == as_list(other);
  }
  if (const Dict* dict = as_dict(input)) {
    return dict == as_dict(other);
  }
  return equal(input, other);
}

Value filter_exists(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "filter", {});
  return as_text(input) != nullptr && find_filter(as_text(input)->text) != nullptr;
}

Value test_exists(Interpreter& run, const Value& input, Arguments& arguments) {
  const Bound bound(run, arguments, "test", {});
  return as_text(input) != nullptr && find_test(as_text(input)->text) != nullptr;
}

struct Row {
  std::string_view name;
  Native native;
};

constexpr std::array kTests = {
    Row{"!=", compares<CompareOp::kNotEqual>},
    Row{"<", compares<CompareOp::kLess>},
    Row{"<=", compares<CompareOp::kLessEqual>},
    Row{"==", compares<CompareOp::kEqual>},
    Row{">", compares<CompareOp::kGreater>},
    Row{">=", compares<CompareOp::kGreaterEqual>},
    Row{"boolean", plain<is_boolean>},
    Row{"callable", plain<is_callable>},
    Row{"defined", plain<is_defined>},
    Row{"divisibleby", divisible_by},
    Row{"eq", compares<CompareOp::kEqual>},
    Row{"equalto", compares<CompareOp::kEqual>},
    Row{"escaped", plain<is_escaped>},
    Row{"even", is_parity<0>},
    Row{"false", plain<is_exactly_false>},
    Row{"filter", filter_exists},
    Row{"float", plain<is_float>},
    Row{"ge", compares<CompareOp::kGreaterEqual>},
    Row{"greaterthan", compares<CompareOp::kGreater>},
    Row{"gt", compares<CompareOp::kGreater>},
    Row{"in", is_in},
    Row{"integer", plain<is_integer>},
    Row{"iterable", plain<is_iterable>},
    Row{"le", compares<CompareOp::kLessEqual>},
    Row{"lessthan", compares<CompareOp::kLess>},
    Row{"lower", is_case<false>},
    Row{"lt", compares<CompareOp::kLess>},
    Row{"mapping", plain<is_mapping>},
    Row{"ne", compares<CompareOp::kNotEqual>},
    Row{"none", plain<is_none_value>},
    Row{"number", plain<is_number>},
    Row{"odd", is_parity<1>},
    Row{"sameas", same_as},
    Row{"sequence", plain<is_sequence>},
    Row{"string", plain<is_string>},
    Row{"test", test_exists},
    Row{"true", plain<is_exactly_true>},
    Row{"undefined", plain<is_not_defined>},
    Row{"upper", is_case<true>},
};

}  // namespace

Native find_test(std::string_view name) {
  const auto found = std::find_if(kTests.begin(), kTests.end(),
                                  [name](const Row& row) { return row.name == name; });
  return found == kTests.end() ? nullptr : found->native;
}

}  // namespace mg::jinja
