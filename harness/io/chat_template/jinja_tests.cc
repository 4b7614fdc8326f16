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

constexpr std::array kTests = {
    NativeRow{"!=", compares<CompareOp::kNotEqual>},
    NativeRow{"<", compares<CompareOp::kLess>},
    NativeRow{"<=", compares<CompareOp::kLessEqual>},
    NativeRow{"==", compares<CompareOp::kEqual>},
    NativeRow{">", compares<CompareOp::kGreater>},
    NativeRow{">=", compares<CompareOp::kGreaterEqual>},
    NativeRow{"boolean", plain<is_boolean>},
    NativeRow{"callable", plain<is_callable>},
    NativeRow{"defined", plain<is_defined>},
    NativeRow{"divisibleby", divisible_by},
    NativeRow{"eq", compares<CompareOp::kEqual>},
    NativeRow{"equalto", compares<CompareOp::kEqual>},
    NativeRow{"escaped", plain<is_escaped>},
    NativeRow{"even", is_parity<0>},
    NativeRow{"false", plain<is_exactly_false>},
    NativeRow{"filter", filter_exists},
    NativeRow{"float", plain<is_float>},
    NativeRow{"ge", compares<CompareOp::kGreaterEqual>},
    NativeRow{"greaterthan", compares<CompareOp::kGreater>},
    NativeRow{"gt", compares<CompareOp::kGreater>},
    NativeRow{"in", is_in},
    NativeRow{"integer", plain<is_integer>},
    NativeRow{"iterable", plain<is_iterable>},
    NativeRow{"le", compares<CompareOp::kLessEqual>},
    NativeRow{"lessthan", compares<CompareOp::kLess>},
    NativeRow{"lower", is_case<false>},
    NativeRow{"lt", compares<CompareOp::kLess>},
    NativeRow{"mapping", plain<is_mapping>},
    NativeRow{"ne", compares<CompareOp::kNotEqual>},
    NativeRow{"none", plain<is_none_value>},
    NativeRow{"number", plain<is_number>},
    NativeRow{"odd", is_parity<1>},
    NativeRow{"sameas", same_as},
    NativeRow{"sequence", plain<is_sequence>},
    NativeRow{"string", plain<is_string>},
    NativeRow{"test", test_exists},
    NativeRow{"true", plain<is_exactly_true>},
    NativeRow{"undefined", plain<is_not_defined>},
    NativeRow{"upper", is_case<true>},
};

}  // namespace

Native find_test(std::string_view name) {
  return find_native(kTests, name);
}

}  // namespace mg::jinja
