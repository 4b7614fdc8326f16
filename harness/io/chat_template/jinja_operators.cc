// Operators, comparisons, str() and repr().
#include <algorithm>
#include <array>
#include <cmath>

#include "harness/io/chat_template/jinja_format.h"
#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_text.h"

namespace mg::jinja {
namespace {

/// What markupsafe's Markup.__add__ takes of either side.
std::string markup_or_escaped(const Text& part) {
  return part.markup ? std::string(part.text) : html_escape(part.text);
}

constexpr int kMaxPrinted = 300;

std::string_view symbol_of(BinaryOp op) {
  static constexpr std::array<std::string_view, 7> kSymbols = {"+", "-", "*", "/", "//", "%", "**"};
  return kSymbols[static_cast<std::size_t>(op)];
}

bool adds_up(const Value& value) {
  return as_text(value) != nullptr || as_list(value) != nullptr;
}

}  // namespace

Value Interpreter::binary(BinaryOp op, const Value& left, const Value& right) {
  need_defined(left);
  if (op == BinaryOp::kMod && as_text(left) != nullptr) {
    return text(format_percent(*this, as_text(left)->text, right), as_text(left)->markup);
  }
  need_defined(right);
  if (op == BinaryOp::kAdd && adds_up(left)) {
    return add(left, right);
  }
  if (op == BinaryOp::kMul && (adds_up(left) || adds_up(right))) {
    const auto times = as_integer(adds_up(left) ? right : left);
    if (times) {
      return repeat(adds_up(left) ? left : right, *times);
    }
  }
  const auto left_integer = as_integer(left);
  const auto right_integer = as_integer(right);
  if (left_integer && right_integer && op != BinaryOp::kDiv) {
    return integer_math(op, *left_integer, *right_integer);
  }
  const auto left_number = as_number(left);
  const auto right_number = as_number(right);
  if (left_number && right_number) {
    return float_math(op, *left_number, *right_number);
  }
  fail_type("unsupported operand type(s) for " + std::string(symbol_of(op)) + ": '" +
            std::string(type_name(left)) + "' and '" + std::string(type_name(right)) + "'");
}

Value Interpreter::add(const Value& left, const Value& right) {
  const Text* left_text = as_text(left);
  const Text* right_text = as_text(right);
  if (left_text != nullptr && right_text != nullptr) {
    if (left_text->markup || right_text->markup) {
      return text(markup_or_escaped(*left_text) + markup_or_escaped(*right_text), true);
    }
    heap_.charge(left_text->text.size());
    return text(left_text->text + right_text->text);
  }
  const List* left_list = as_list(left);
  const List* right_list = as_list(right);
  if (left_list != nullptr && right_list != nullptr && left_list->tuple == right_list->tuple) {
    Values items = left_list->items;
    items.insert(items.end(), right_list->items.begin(), right_list->items.end());
    return heap_.list(std::move(items), left_list->tuple);
  }
  if (left_text != nullptr) {
    fail_type("can only concatenate str (not \"" + std::string(type_name(right)) + "\") to str");
  }
  fail_type("can only concatenate " + std::string(type_name(left)) + " (not \"" +
            std::string(type_name(right)) + "\") to " + std::string(type_name(left)));
}

Value Interpreter::repeat(const Value& sequence, std::int64_t times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  const Text* source = as_text(sequence);
  const std::size_t size =
      source != nullptr ? source->text.size() : as_list(sequence)->items.size() * sizeof(Value);
  if (size > 0 && count > (std::size_t{1} << 40U) / size) {
    heap_.charge(std::size_t{1} << 50U);
  }
  heap_.charge(size * count);
  if (source != nullptr) {
    std::string out;
    for (std::size_t i = 0; i < count && size > 0; ++i) {
      out += source->text;
    }
    return text(std::move(out), source->markup);
  }
  Values items;
  for (std::size_t i = 0; i < count && size > 0; ++i) {
    items.insert(items.end(), as_list(sequence)->items.begin(), as_list(sequence)->items.end());
  }
  return heap_.list(std::move(items), as_list(sequence)->tuple);
}

Value Interpreter::integer_math(BinaryOp op, std::int64_t left, std::int64_t right) {
  std::int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::kAdd:
      overflow = __builtin_add_overflow(left, right, &result);
      break;
    case BinaryOp::kSub:
      overflow = __builtin_sub_overflow(left, right, &result);
      break;
    case BinaryOp::kMul:
      overflow = __builtin_mul_overflow(left, right, &result);
      break;
    case BinaryOp::kFloorDiv:
    case BinaryOp::kMod: {
      if (right == 0) {
        fail_type("integer division or modulo by zero");
      }
      if (right == -1) {
        overflow =
            op == BinaryOp::kFloorDiv && __builtin_sub_overflow(std::int64_t{0}, left, &result);
        break;
      }
      const std::int64_t remainder = left % right;
      const bool adjust = remainder != 0 && (remainder < 0) != (right < 0);
      result =
          op == BinaryOp::kMod ? remainder + (adjust ? right : 0) : left / right - (adjust ? 1 : 0);
      break;
    }
    case BinaryOp::kPow: {
      if (right < 0) {
        return float_math(op, static_cast<double>(left), static_cast<double>(right));
      }
      result = 1;
      for (std::int64_t i = 0; i < right && !overflow && !(result == 0 || (left == 1)); ++i) {
        tick();
        overflow = __builtin_mul_overflow(result, left, &result);
      }
      break;
    }
    default:
      break;
  }
  if (overflow) {
    fail("chat_template.unsupported", "an integer needs more than 64 bits");
  }
  return result;
}

Value Interpreter::float_math(BinaryOp op, double left, double right) {
  const bool divides = op == BinaryOp::kDiv || op == BinaryOp::kFloorDiv || op == BinaryOp::kMod;
  if (divides && !(right < 0) && !(right > 0) && !std::isnan(right)) {
    fail_type(op == BinaryOp::kDiv ? "division by zero" : "float floor division by zero");
  }
  switch (op) {
    case BinaryOp::kAdd:
      return left + right;
    case BinaryOp::kSub:
      return left - right;
    case BinaryOp::kMul:
      return left * right;
    case BinaryOp::kDiv:
      return left / right;
    case BinaryOp::kFloorDiv:
      return std::floor(left / right);
    case BinaryOp::kMod: {
      const double remainder = std::fmod(left, right);
      const bool adjust = (remainder < 0 || remainder > 0) && (remainder < 0) != (right < 0);
      return adjust ? remainder + right : remainder;
    }
    default:
      return std::pow(left, right);
  }
}

// Negative, zero, positive as left stands before, at, behind right.
int Interpreter::order(const Value& left, const Value& right, std::string_view op) {
  tick();
  need_defined(left);
  need_defined(right);
  const auto left_integer = as_integer(left);
  const auto right_integer = as_integer(right);
  if (left_integer && right_integer) {
    return *left_integer < *right_integer ? -1 : *left_integer > *right_integer ? 1 : 0;
  }
  const auto left_number = as_number(left);
  const auto right_number = as_number(right);
  if (left_number && right_number) {
    return *left_number < *right_number ? -1 : *left_number > *right_number ? 1 : 0;
  }
  if (as_text(left) != nullptr && as_text(right) != nullptr) {
    return as_text(left)->text.compare(as_text(right)->text);  // UTF-8 sorts as code points do
  }
  const List* left_list = as_list(left);
  const List* right_list = as_list(right);
  if (left_list != nullptr && right_list != nullptr && left_list->tuple == right_list->tuple) {
    const std::size_t shared = std::min(left_list->items.size(), right_list->items.size());
    for (std::size_t i = 0; i < shared; ++i) {
      if (!equal(left_list->items[i], right_list->items[i])) {
        return order(left_list->items[i], right_list->items[i], op);
      }
    }
    return left_list->items.size() < right_list->items.size()   ? -1
           : left_list->items.size() > right_list->items.size() ? 1
                                                                : 0;
  }
  fail_type("'" + std::string(op) + "' not supported between instances of '" +
            std::string(type_name(left)) + "' and '" + std::string(type_name(right)) + "'");
}

bool Interpreter::contains(const Value& container, const Value& value) {
  if (const Text* text = as_text(container)) {
    if (as_text(value) == nullptr) {
      fail_type("'in <string>' requires string as left operand, not " +
                std::string(type_name(value)));
    }
    return text->text.find(as_text(value)->text) != std::string::npos;
  }
  if (const Dict* dict = as_dict(container)) {
    return dict->find(value) != nullptr;
  }
  if (is_none(container) || as_number(container)) {
    fail_type("argument of type '" + std::string(type_name(container)) + "' is not iterable");
  }
  const Values items = iterate(container);
  tick(static_cast<std::int64_t>(items.size()));
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& item) { return equal(item, value); });
}

bool Interpreter::compare(CompareOp op, const Value& left, const Value& right) {
  switch (op) {
    case CompareOp::kEqual:
      return equal(left, right);
    case CompareOp::kNotEqual:
      return !equal(left, right);
    case CompareOp::kIn:
      return contains(right, left);
    case CompareOp::kNotIn:
      return !contains(right, left);
    default:
      break;
  }
  const auto left_number = as_number(left);
  const auto right_number = as_number(right);
  if (left_number && right_number && (std::isnan(*left_number) || std::isnan(*right_number))) {
    return false;
  }
  switch (op) {
    case CompareOp::kLess:
      return order(left, right, "<") < 0;
    case CompareOp::kLessEqual:
      return order(left, right, "<=") <= 0;
    case CompareOp::kGreater:
      return order(left, right, ">") > 0;
    default:
      return order(left, right, ">=") >= 0;
  }
}

std::string Interpreter::str(const Value& value) {
  if (const Text* text = as_text(value)) {
    return text->text;
  }
  return is_undefined(value) ? std::string() : repr(value);
}

std::string Interpreter::repr(const Value& value, int depth) {
  tick();
  if (depth > kMaxPrinted) {
    fail("chat_template.limit", "a value is nested too deeply to print");
  }
  const auto list = [&](const Values& items, std::string_view open, std::string_view close) {
    std::string out(open);
    for (std::size_t i = 0; i < items.size(); ++i) {
      out += i > 0 ? ", " : "";
      out += repr(items[i], depth + 1);
      heap_.charge(16);
    }
    return out.append(close);
  };
  if (is_undefined(value)) {
    return "Undefined";
  }
  if (is_none(value)) {
    return "None";
  }
  if (const auto* flag = std::get_if<bool>(&value)) {
    return *flag ? "True" : "False";
  }
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    return std::to_string(*integer);
  }
  if (const auto* number = std::get_if<double>(&value)) {
    return python_float(*number);
  }
  if (const Text* text = as_text(value)) {
    heap_.charge(text->text.size());
    const std::string quoted = python_quote(text->text);
    return text->markup ? "Markup(" + quoted + ")" : quoted;
  }
  if (const List* sequence = as_list(value)) {
    if (!sequence->tuple) {
      return list(sequence->items, "[", "]");
    }
    return list(sequence->items, "(", sequence->items.size() == 1 ? ",)" : ")");
  }
  if (const Dict* dict = as_dict(value)) {
    std::string out = "{";
    for (const auto& [key, item] : dict->items) {
      out += out.size() > 1 ? ", " : "";
      out.append(repr(key, depth + 1)).append(": ").append(repr(item, depth + 1));
      heap_.charge(16);
    }
    return out.append("}");
  }
  if (const auto* range = std::get_if<const Range*>(&value)) {
    std::string out =
        "range(" + std::to_string((*range)->start) + ", " + std::to_string((*range)->stop);
    return out + ((*range)->step == 1 ? ")" : ", " + std::to_string((*range)->step) + ")");
  }
  if (const auto* view = std::get_if<const View*>(&value)) {
    static constexpr std::array<std::string_view, 3> kNames = {"dict_keys([", "dict_values([",
                                                               "dict_items(["};
    return list(iterate(value), kNames[static_cast<std::size_t>((*view)->kind)], "])");
  }
  if (const auto* space = std::get_if<Namespace*>(&value)) {
    // Not by repr(dict): a namespace may hold itself.
    return "<Namespace " + repr(static_cast<const Dict*>(&(*space)->attributes), depth + 1) + ">";
  }
  // What Python prints here holds memory addresses: no template means to show it.
  fail_type("a " + std::string(type_name(value)) + " cannot be printed");
}

}  // namespace mg::jinja
