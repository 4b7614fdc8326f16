// Statements.
#include "harness/io/chat_template/jinja_interpreter.h"

#include <algorithm>

#include "harness/io/chat_template/jinja_lexer.h"
#include "kernels/core/error.h"

namespace mg::jinja {
namespace {

constexpr int kMaxLoopDepth = 200;

}  // namespace

struct Interpreter::Within {
  Within(Interpreter& run, Scope* scope) : run_(run), before_(std::exchange(run.scope_, scope)) {}
  ~Within() { run_.scope_ = before_; }
  Within(const Within&) = delete;
  Within& operator=(const Within&) = delete;
  Interpreter& run_;
  Scope* before_;
};

struct Interpreter::Depth {
  explicit Depth(Interpreter& run) : run_(run) {
    if (++run_.depth_ > kMaxDepth) {
      --run_.depth_;
      run_.fail("chat_template.limit", "the template calls itself too deeply");
    }
  }
  ~Depth() { --run_.depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;
  Interpreter& run_;
};

Interpreter::Interpreter(const Template& source, Limits limits, std::optional<CalendarTime> now)
    : template_(source), heap_(limits.memory_bytes), steps_left_(limits.steps), now_(now) {}

void Interpreter::fail(std::string code, std::string what) const {
  fail_at(template_.name, line_, std::move(code), std::move(what));
}

void Interpreter::tick(std::int64_t steps) {
  steps_left_ -= steps;
  if (steps_left_ < 0) {
    fail("chat_template.limit", "the template runs too long");
  }
}

Scope* Interpreter::new_scope(Scope* parent) {
  heap_.charge(sizeof(Scope));
  return &scopes_.emplace_back(Scope{parent, {}});
}

const Value* Interpreter::find(NameId name) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    for (const auto& [known, value] : scope->values) {
      if (known == name) {
        return &value;
      }
    }
  }
  return nullptr;
}

void Interpreter::set(NameId name, const Value& value) {
  for (auto& [known, old] : scope_->values) {
    if (known == name) {
      old = value;
      return;
    }
  }
  scope_->values.emplace_back(name, value);
}

std::string Interpreter::render(const Dict& context) {
  Scope* variables = new_scope(nullptr);
  for (std::size_t id = 0; id < template_.names.size(); ++id) {
    if (const Value* value = context.find(template_.names[id])) {
      variables->values.emplace_back(static_cast<NameId>(id), *value);
    }
  }
  std::string out;
  root_output_ = &out;
  const Within within(*this, new_scope(variables));
  try {
    run(template_.body, out);
  } catch (const Error& error) {
    if (!error.parts().where.empty()) {
      throw;
    }
    ErrorParts parts = error.parts();  // a limit met where no line is known
    parts.where = template_.name + ", line " + std::to_string(line_);
    throw Error(std::move(parts), error.kind());
  }
  return out;
}

Interpreter::Flow Interpreter::run(const Body& body, std::string& out) {
  for (const Stmt& statement : body) {
    const Flow flow = run_one(statement, out);
    if (flow != Flow::kNext) {
      return flow;
    }
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_one(const Stmt& statement, std::string& out) {
  const Depth depth(*this);
  tick();
  line_ = statement.line;
  return std::visit([&](const auto& node) { return exec(node, out); }, statement.node);
}

Interpreter::Flow Interpreter::exec(const TextNode& node, std::string& out) {
  heap_.charge(node.text.size());
  out += node.text;
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const PrintNode& node, std::string& out) {
  const std::string text = str(eval(*node.value));
  heap_.charge(text.size());
  out += text;
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const IfNode& node, std::string& out) {
  for (const auto& [test, body] : node.branches) {
    if (is_true(eval(*test))) {
      return run(body, out);
    }
  }
  return run(node.otherwise, out);
}

Interpreter::Flow Interpreter::exec(const ForNode& node, std::string& out) {
  const Value items = eval(*node.items);
  const Callable* recurse = nullptr;
  if (node.recursive) {
    Callable self;
    self.name = "loop";
    self.loop = &node;
    self.closure = scope_;
    recurse = heap_.callable(std::move(self));
  }
  loop(node, iterate(items), 0, recurse, out);
  return Flow::kNext;
}

// The body has one scope, emptied for every turn: what a turn sets is gone in the next.
Interpreter::Flow Interpreter::loop(const ForNode& node, const Values& all, std::int64_t depth,
                                    const Callable* recurse, std::string& out) {
  if (depth > kMaxLoopDepth) {
    fail("chat_template.limit", "a recursive loop goes too deep");
  }
  Scope* outer = scope_;
  Scope* scope = new_scope(outer);
  heap_.charge(all.size() * sizeof(Value));
  Values& items = loop_items_.emplace_back();
  if (node.test == nullptr) {
    items = all;
  } else {
    const Within within(*this, scope);
    for (const Value& item : all) {
      tick();
      scope->values.clear();
      assign(node.target, item);
      if (is_true(eval(*node.test))) {
        items.push_back(item);
      }
    }
  }
  const auto loop_name = std::find(template_.names.begin(), template_.names.end(), "loop");
  const bool named = loop_name != template_.names.end();
  Loop* state = heap_.loop({&items, 0, depth, std::nullopt, recurse});
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Within within(*this, scope);
    tick();
    scope->values.clear();
    state->index0 = static_cast<std::int64_t>(i);
    if (named) {
      set(static_cast<NameId>(loop_name - template_.names.begin()), state);
    }
    assign(node.target, items[i]);
    if (run(node.body, out) == Flow::kBreak) {
      return Flow::kNext;
    }
  }
  if (items.empty()) {
    const Within within(*this, new_scope(outer));
    run(node.otherwise, out);
  }
  return Flow::kNext;
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.is_tuple) {
    assign_tuple(target, value);
    return;
  }
  if (target.attribute.empty()) {
    set(target.name, value);
    return;
  }
  const Value* object = find(target.name);
  const auto* space = object == nullptr ? nullptr : std::get_if<Namespace*>(object);
  if (space == nullptr) {
    fail_type("cannot assign attribute on non-namespace object");
  }
  if (target.attribute.starts_with("_")) {
    fail("chat_template.security",
         "templates cannot store underscore-prefixed attributes on a namespace: " +
             target.attribute);
  }
  (*space)->attributes.set(text(target.attribute), value);
}

void Interpreter::assign_tuple(const Target& target, const Value& value) {
  const Values items = iterate(value);
  if (items.size() != target.tuple.size()) {
    fail_type("cannot unpack " + std::to_string(items.size()) + " values into " +
              std::to_string(target.tuple.size()) + " names");
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    assign(target.tuple[i], items[i]);
  }
}

Interpreter::Flow Interpreter::exec(const SetNode& node, std::string&) {
  assign(node.target, eval(*node.value));
  return Flow::kNext;
}

std::string Interpreter::block_text(const Body& body) {
  const Within within(*this, new_scope(scope_));
  std::string out;
  run(body, out);
  return out;
}

Interpreter::Flow Interpreter::exec(const SetBlockNode& node, std::string&) {
  Value value = text(block_text(node.body));
  if (node.filter != nullptr) {
    const Value* outer = std::exchange(block_value_, &value);
    value = eval(*node.filter);
    block_value_ = outer;
  }
  assign(node.target, value);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const FilterBlockNode& node, std::string& out) {
  const Value value = text(block_text(node.body));
  const Value* outer = std::exchange(block_value_, &value);
  out += str(eval(*node.filter));
  block_value_ = outer;
  return Flow::kNext;
}

// The block is a function of its own to Jinja.  Its place is measured in the whole output, where
// loops and conditions write directly.
Interpreter::Flow Interpreter::exec(const GenerationNode& node, std::string& out) {
  const std::string body = block_text(node.body);
  generated_.push_back({root_output_->size(), root_output_->size() + body.size()});
  out += body;
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const WithNode& node, std::string& out) {
  Scope* scope = new_scope(scope_);
  Values values;
  for (const auto& [target, value] : node.values) {
    values.push_back(eval(*value));  // all of them see the scope outside
  }
  const Within within(*this, scope);
  for (std::size_t i = 0; i < values.size(); ++i) {
    assign(node.values[i].first, values[i]);
  }
  return run(node.body, out);
}

Interpreter::Flow Interpreter::exec(const MacroNode& node, std::string&) {
  Callable macro;
  macro.name = node.name;
  macro.macro = &node;
  macro.closure = scope_;
  set(node.name_id, heap_.callable(std::move(macro)));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const CallBlockNode& node, std::string& out) {
  Callable caller;
  caller.name = "caller";
  caller.macro = node.caller.get();
  caller.closure = scope_;
  const auto& call_node = std::get<CallNode>(node.call->node);
  Arguments given = arguments(call_node.args);
  given.keyword.emplace_back("caller", heap_.callable(std::move(caller)));
  out += str(call(eval(*call_node.callee), std::move(given)));
  return Flow::kNext;
}

Value Interpreter::call_loop(const Callable& recursion, Arguments& given) {
  if (given.positional.size() != 1 || !given.keyword.empty()) {
    fail_type("loop() takes one argument");
  }
  const Within within(*this, recursion.closure);
  Callable deeper = recursion;
  deeper.depth = recursion.depth + 1;
  std::string out;
  loop(*recursion.loop, iterate(given.positional[0]), deeper.depth,
       heap_.callable(std::move(deeper)), out);
  return text(std::move(out));
}

// Binds the arguments as jinja2/runtime.py's Macro does.
Value Interpreter::call_macro(const Callable& callable, Arguments& given) {
  const Depth depth(*this);
  const MacroNode& macro = *callable.macro;
  Scope* scope = new_scope(callable.closure);
  const Within within(*this, scope);
  const std::size_t count = macro.parameters.size();
  std::vector<std::optional<Value>> values(count);
  for (std::size_t i = 0; i < std::min(count, given.positional.size()); ++i) {
    values[i] = given.positional[i];
  }
  Dict* surplus = heap_.dict();
  std::optional<Value> caller;
  for (const auto& [key, value] : given.keyword) {
    const auto found =
        std::find_if(macro.parameters.begin(), macro.parameters.end(),
                     [&name = key](const auto& parameter) { return parameter.second == name; });
    if (found == macro.parameters.end()) {
      if (key == "caller") {
        caller = value;
      } else {
        surplus->set(text(key), value);
      }
      continue;
    }
    auto& slot = values[static_cast<std::size_t>(found - macro.parameters.begin())];
    if (slot) {
      fail_type("macro '" + callable.name + "' got multiple values for argument '" + key + "'");
    }
    slot = value;
  }
  const auto name_of = [this](std::string_view name) {
    const auto found = std::find(template_.names.begin(), template_.names.end(), name);
    return static_cast<NameId>(found - template_.names.begin());
  };
  const std::size_t first_default = count - macro.defaults.size();
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [id, name] = macro.parameters[i];
    if (!values[i]) {
      values[i] = i >= first_default ? eval(*macro.defaults[i - first_default])
                                     : undefined("parameter '" + name + "' was not provided");
    }
    set(id, *values[i]);
  }
  if (macro.uses_caller) {
    set(name_of("caller"), caller ? *caller : undefined("No caller defined"));
  } else if (caller && !macro.name.empty()) {
    fail_type("macro '" + callable.name +
              "' was invoked with two values for the special caller "
              "argument or does not take one");
  }
  if (macro.uses_kwargs) {
    set(name_of("kwargs"), surplus);
  } else if (!surplus->items.empty()) {
    fail_type("macro '" + callable.name + "' takes no keyword argument " +
              repr(surplus->items[0].first));
  }
  Values rest(given.positional.begin() +
                  static_cast<std::ptrdiff_t>(std::min(count, given.positional.size())),
              given.positional.end());
  if (macro.uses_varargs) {
    set(name_of("varargs"), heap_.list(std::move(rest), true));
  } else if (!rest.empty()) {
    fail_type("macro '" + callable.name + "' takes not more than " + std::to_string(count) +
              " argument(s)");
  }
  std::string out;
  run(macro.body, out);
  return text(std::move(out));
}

}  // namespace mg::jinja
