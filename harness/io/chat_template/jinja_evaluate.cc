// Expressions.
#include <algorithm>

#include "harness/io/chat_template/jinja_interpreter.h"
#include "harness/io/chat_template/jinja_text.h"

namespace mg::jinja {
Value Interpreter::eval(const Expr& expression) {
  tick();
  if (depth_ >= kMaxDepth) {
    fail("chat_template.limit", "the template calls itself too deeply");
  }
  ++depth_;
  const int line = line_;
  line_ = expression.line;
  Value value = std::visit([this](const auto& node) { return evaluate(node); }, expression.node);
  line_ = line;
  --depth_;  // an error ends the rendering, so that the counter need not be mended then
  return value;
}

Value Interpreter::evaluate(const ConstNode& node) {
  if (const auto* literal = std::get_if<std::string>(&node.value)) {
    return text(*literal);
  }
  if (const auto* flag = std::get_if<bool>(&node.value)) {
    return *flag;
  }
  if (const auto* integer = std::get_if<std::int64_t>(&node.value)) {
    return *integer;
  }
  if (const auto* number = std::get_if<double>(&node.value)) {
    return *number;
  }
  return None{};
}

Value Interpreter::evaluate(const NameNode& node) {
  if (const Value* value = find(node.name)) {
    return *value;
  }
  const std::string& name = template_.names[static_cast<std::size_t>(node.name)];
  if (const auto value = global(*this, name)) {
    return *value;
  }
  return undefined("'" + name + "' is undefined");
}

Value Interpreter::evaluate(const SequenceNode& node) {
  Values items;
  items.reserve(node.items.size());
  for (const ExprPtr& item : node.items) {
    items.push_back(eval(*item));
  }
  return heap_.list(std::move(items), node.tuple);
}

Value Interpreter::evaluate(const DictNode& node) {
  Dict* dict = heap_.dict();
  for (const auto& [key, value] : node.items) {
    const Value name = eval(*key);
    if (as_dict(name) != nullptr || (as_list(name) != nullptr && !as_list(name)->tuple)) {
      fail_type("unhashable type: '" + std::string(type_name(name)) + "'");
    }
    dict->set(name, eval(*value));
  }
  return dict;
}

Value Interpreter::evaluate(const BinaryNode& node) {
  if (node.op == BinaryOp::kAnd || node.op == BinaryOp::kOr) {
    Value left = eval(*node.left);
    return is_true(left) == (node.op == BinaryOp::kAnd) ? eval(*node.right) : left;
  }
  const Value left = eval(*node.left);
  return binary(node.op, left, eval(*node.right));
}

Value Interpreter::evaluate(const UnaryNode& node) {
  const Value value = eval(*node.operand);
  if (node.op == UnaryOp::kNot) {
    return !is_true(value);
  }
  need_defined(value);
  const bool negative = node.op == UnaryOp::kNegative;
  if (const auto* number = std::get_if<double>(&value)) {
    return negative ? -*number : *number;
  }
  if (const auto integer = as_integer(value)) {
    return negative ? binary(BinaryOp::kSub, std::int64_t{0}, *integer) : Value(*integer);
  }
  fail_type(std::string("bad operand type for unary ") + (negative ? "-" : "+") + ": '" +
            std::string(type_name(value)) + "'");
}

Value Interpreter::evaluate(const CompareNode& node) {
  Value left = eval(*node.first);
  for (const auto& [op, operand] : node.rest) {
    Value right = eval(*operand);
    if (!compare(op, left, right)) {
      return false;
    }
    left = std::move(right);
  }
  return true;
}

// Autoescaping is off, so '~' joins as str.join does: a Markup neither escapes the others nor
// stays one (jinja2/runtime.py str_join).
Value Interpreter::evaluate(const ConcatNode& node) {
  std::string out;
  for (const ExprPtr& item : node.items) {
    out += str(eval(*item));
  }
  return text(std::move(out));
}

Value Interpreter::evaluate(const ConditionNode& node) {
  if (is_true(eval(*node.test))) {
    return eval(*node.yes);
  }
  if (node.no != nullptr) {
    return eval(*node.no);
  }
  return undefined("the inline if-expression evaluated to false and no else section was defined.");
}

Value Interpreter::evaluate(const AttributeNode& node) {
  return attribute(eval(*node.object), node.name);
}

Value Interpreter::evaluate(const ItemNode& node) {
  const Value object = eval(*node.object);
  return item(object, eval(*node.index));
}

Value Interpreter::evaluate(const SliceNode& node) {
  const auto part = [this](const ExprPtr& expression) {
    return expression == nullptr ? Value(None{}) : eval(*expression);
  };
  const Value start = part(node.start);
  const Value stop = part(node.stop);
  return heap_.slice({start, stop, part(node.step)});
}

Arguments Interpreter::arguments(const CallArgs& args) {
  Arguments out;
  for (const ExprPtr& argument : args.positional) {
    out.positional.push_back(eval(*argument));
  }
  for (const auto& [key, value] : args.keyword) {
    out.keyword.emplace_back(key, eval(*value));
  }
  if (args.star != nullptr) {
    for (const Value& value : iterate(eval(*args.star))) {
      out.positional.push_back(value);
    }
  }
  if (args.star_star != nullptr) {
    const Value value = eval(*args.star_star);
    const Dict* dict = as_dict(value);
    if (dict == nullptr) {
      fail_type("argument after ** must be a mapping, not " + std::string(type_name(value)));
    }
    for (const auto& [key, item] : dict->items) {
      out.keyword.emplace_back(need_text(key, "keywords").text, item);
    }
  }
  return out;
}

Value Interpreter::evaluate(const CallNode& node) {
  const Value callee = eval(*node.callee);
  return call(callee, arguments(node.args));
}

Value Interpreter::call(const Value& callee, Arguments given) {
  need_defined(callee);
  tick();
  if (const auto* loop = std::get_if<Loop*>(&callee)) {
    if ((*loop)->recurse == nullptr) {
      fail_type("The loop must have the 'recursive' marker enabled.");
    }
    return call_loop(*(*loop)->recurse, given);
  }
  if (const auto* cycle = std::get_if<Cycle*>(&callee); cycle != nullptr && (*cycle)->joiner) {
    if (!(*cycle)->used) {
      (*cycle)->used = true;
      return text("");
    }
    return (*cycle)->items[0];
  }
  const auto* callable = std::get_if<const Callable*>(&callee);
  if (callable == nullptr) {
    fail_type("'" + std::string(type_name(callee)) + "' object is not callable");
  }
  const Callable& function = **callable;
  if (function.native != nullptr) {
    return function.native(*this, function.self, given);
  }
  return call_macro(function, given);
}

Value Interpreter::evaluate(const FilterNode& node) {
  const Value input = node.input == nullptr ? *block_value_ : eval(*node.input);
  return filter(node.name, input, arguments(node.args));
}

Value Interpreter::filter(std::string_view name, const Value& input, Arguments given) {
  const Native native = find_filter(name);
  if (native == nullptr) {
    fail("chat_template.unsupported", "no filter named '" + std::string(name) + "'");
  }
  return native(*this, input, given);
}

Value Interpreter::evaluate(const TestNode& node) {
  const Value input = eval(*node.input);
  return test(node.name, input, arguments(node.args));
}

bool Interpreter::test(std::string_view name, const Value& input, Arguments given) {
  const Native native = find_test(name);
  if (native == nullptr) {
    fail("chat_template.unsupported", "no test named '" + std::string(name) + "'");
  }
  return is_true(native(*this, input, given));
}

Value Interpreter::undefined(std::string why, bool unsafe) {
  return Undefined{heap_.message(std::move(why)), unsafe};
}

void Interpreter::need_defined(const Value& value) const {
  if (const auto* missing = std::get_if<Undefined>(&value)) {
    fail(missing->unsafe ? "chat_template.security" : "chat_template.undefined",
         missing->why == nullptr ? "an undefined value is used" : *missing->why);
  }
}

const Text& Interpreter::need_text(const Value& value, std::string_view what) const {
  const Text* text = as_text(value);
  if (text == nullptr) {
    fail_type(std::string(what) + " must be str, not " + std::string(type_name(value)));
  }
  return *text;
}

std::int64_t Interpreter::need_integer(const Value& value, std::string_view what) const {
  const auto integer = as_integer(value);
  if (!integer) {
    fail_type(std::string(what) + " must be an integer, not " + std::string(type_name(value)));
  }
  return *integer;
}

Bound::Bound(Interpreter& run, Arguments& arguments, std::string_view function,
             std::initializer_list<std::string_view> parameters)
    : run_(run),
      function_(function),
      names_(parameters.begin(), parameters.end()),
      given_(parameters.size()) {
  if (arguments.positional.size() > names_.size()) {
    run_.fail_type(function_ + "() takes at most " + std::to_string(names_.size()) +
                   " arguments, got " + std::to_string(arguments.positional.size()));
  }
  std::copy(arguments.positional.begin(), arguments.positional.end(), given_.begin());
  for (const auto& [key, value] : arguments.keyword) {
    const auto found = std::find(names_.begin(), names_.end(), key);
    if (found == names_.end()) {
      run_.fail_type(function_ + "() got an unexpected keyword argument '" + key + "'");
    }
    auto& slot = given_[static_cast<std::size_t>(found - names_.begin())];
    if (slot) {
      run_.fail_type(function_ + "() got multiple values for argument '" + key + "'");
    }
    slot = value;
  }
}

const Value& Bound::need(std::size_t i) const {
  if (!given_[i]) {
    run_.fail_type(function_ + "() is missing the argument '" + names_[i] + "'");
  }
  return *given_[i];
}

bool Bound::flag(std::size_t i, bool missing) const {
  return given_[i] ? is_true(*given_[i]) : missing;
}

std::int64_t Bound::integer(std::size_t i, std::int64_t missing) const {
  return given_[i] ? run_.need_integer(*given_[i], names_[i]) : missing;
}

std::string Bound::text(std::size_t i, std::string_view missing) const {
  return given_[i] ? run_.need_text(*given_[i], names_[i]).text : std::string(missing);
}

}  // namespace mg::jinja
