// Expressions, from the weakest binding to the strongest: conditional, or, and, not, comparisons, +
// -, ~, * / // %, **, unary signs, then subscripts, calls, filters and tests.
#include <algorithm>
#include <array>

#include "harness/io/chat_template/jinja_parser_impl.h"

namespace mg::jinja {

ExprPtr Parser::expression() {
  const Depth depth(*this);
  return condition();
}

bool Parser::tuple_ends(std::string_view end_name) const {
  return current().kind == TokenKind::kVariableEnd || current().kind == TokenKind::kBlockEnd ||
         is_operator(")") || (!end_name.empty() && is_name(end_name));
}

// One expression, or a tuple where commas follow.  `end_name` is a word that ends it ("recursive").
ExprPtr Parser::expression_or_tuple(bool with_condition, std::string_view end_name,
                                    bool parentheses) {
  const int line = current().line;
  const Depth depth(*this);
  std::vector<ExprPtr> items;
  bool tuple = false;
  while (true) {
    if (!items.empty()) {
      expect_operator(",");
    }
    if (tuple_ends(end_name)) {
      break;
    }
    items.push_back(with_condition ? condition() : logic_or());
    if (!is_operator(",")) {
      break;
    }
    tuple = true;
  }
  if (!tuple && !items.empty()) {
    return std::move(items.front());
  }
  if (!tuple && !parentheses) {
    fail("expected an expression, got " + describe(current()));
  }
  return make(line, SequenceNode{std::move(items), true});
}

ExprPtr Parser::condition() {
  int line = current().line;
  ExprPtr yes = logic_or();
  while (skip_name("if")) {
    ExprPtr test = logic_or();
    ExprPtr no = skip_name("else") ? expression() : nullptr;
    yes = make(line, ConditionNode{std::move(test), std::move(yes), std::move(no)});
    line = current().line;
  }
  return yes;
}

ExprPtr Parser::logic_or() {
  const int line = current().line;
  ExprPtr left = logic_and();
  while (skip_name("or")) {
    left = make(line, BinaryNode{BinaryOp::kOr, std::move(left), logic_and()});
  }
  return left;
}

ExprPtr Parser::logic_and() {
  const int line = current().line;
  ExprPtr left = logic_not();
  while (skip_name("and")) {
    left = make(line, BinaryNode{BinaryOp::kAnd, std::move(left), logic_not()});
  }
  return left;
}

ExprPtr Parser::logic_not() {
  const int line = current().line;
  if (skip_name("not")) {
    const Depth depth(*this);
    return make(line, UnaryNode{UnaryOp::kNot, logic_not()});
  }
  return comparison();
}

ExprPtr Parser::comparison() {
  static constexpr std::array<std::pair<std::string_view, CompareOp>, 6> kOperators = {
      {{"==", CompareOp::kEqual},
       {"!=", CompareOp::kNotEqual},
       {"<", CompareOp::kLess},
       {"<=", CompareOp::kLessEqual},
       {">", CompareOp::kGreater},
       {">=", CompareOp::kGreaterEqual}}};
  const int line = current().line;
  ExprPtr first = sum();
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
  while (true) {
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [this](const auto& row) { return is_operator(row.first); });
    if (found != kOperators.end()) {
      ++at_;
      rest.emplace_back(found->second, sum());
    } else if (skip_name("in")) {
      rest.emplace_back(CompareOp::kIn, sum());
    } else if (is_name("not") && next_token().kind == TokenKind::kName &&
               next_token().text == "in") {
      at_ += 2;
      rest.emplace_back(CompareOp::kNotIn, sum());
    } else {
      break;
    }
  }
  return rest.empty() ? std::move(first)
                      : make(line, CompareNode{std::move(first), std::move(rest)});
}

ExprPtr Parser::sum() {
  const int line = current().line;
  ExprPtr left = concatenation();
  while (is_operator("+") || is_operator("-")) {
    const BinaryOp op = is_operator("+") ? BinaryOp::kAdd : BinaryOp::kSub;
    ++at_;
    left = make(line, BinaryNode{op, std::move(left), concatenation()});
  }
  return left;
}

ExprPtr Parser::concatenation() {
  const int line = current().line;
  std::vector<ExprPtr> items;
  items.push_back(product());
  while (skip_operator("~")) {
    items.push_back(product());
  }
  return items.size() == 1 ? std::move(items.front()) : make(line, ConcatNode{std::move(items)});
}

ExprPtr Parser::product() {
  static constexpr std::array<std::pair<std::string_view, BinaryOp>, 4> kOperators = {
      {{"*", BinaryOp::kMul},
       {"/", BinaryOp::kDiv},
       {"//", BinaryOp::kFloorDiv},
       {"%", BinaryOp::kMod}}};
  const int line = current().line;
  ExprPtr left = power();
  while (true) {
    const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                    [this](const auto& row) { return is_operator(row.first); });
    if (found == kOperators.end()) {
      return left;
    }
    ++at_;
    left = make(line, BinaryNode{found->second, std::move(left), power()});
  }
}

ExprPtr Parser::power() {
  const int line = current().line;
  ExprPtr left = unary(true);
  while (skip_operator("**")) {
    left = make(line, BinaryNode{BinaryOp::kPow, std::move(left), unary(true)});
  }
  return left;
}

ExprPtr Parser::unary(bool with_filter) {
  const int line = current().line;
  const Depth depth(*this);
  ExprPtr node;
  if (skip_operator("-")) {
    node = make(line, UnaryNode{UnaryOp::kNegative, unary(false)});
  } else if (skip_operator("+")) {
    node = make(line, UnaryNode{UnaryOp::kPositive, unary(false)});
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filter ? filters_and_tests(std::move(node)) : std::move(node);
}

ExprPtr Parser::primary() {
  const Token& token = current();
  const int line = token.line;
  switch (token.kind) {
    case TokenKind::kName:
      return name_or_constant();
    case TokenKind::kString: {
      std::string text;
      while (current().kind == TokenKind::kString) {  // neighbours are joined, as in Python
        text += current().text;
        ++at_;
      }
      return make(line, ConstNode{std::move(text)});
    }
    case TokenKind::kInteger:
      ++at_;
      return make(line, ConstNode{token.integer});
    case TokenKind::kFloat:
      ++at_;
      return make(line, ConstNode{token.number});
    default:
      break;
  }
  if (skip_operator("(")) {
    ExprPtr node = expression_or_tuple(true, "", true);
    expect_operator(")");
    return node;
  }
  if (is_operator("[")) {
    return list_literal();
  }
  if (is_operator("{")) {
    return dict_literal();
  }
  fail("unexpected " + describe(token));
}

ExprPtr Parser::name_or_constant() {
  const int line = current().line;
  const std::string name = expect_name();
  if (name == "true" || name == "True") {
    return make(line, ConstNode{true});
  }
  if (name == "false" || name == "False") {
    return make(line, ConstNode{false});
  }
  if (name == "none" || name == "None") {
    return make(line, ConstNode{std::monostate{}});
  }
  return make(line, NameNode{id_of(name)});
}

ExprPtr Parser::list_literal() {
  const int line = current().line;
  expect_operator("[");
  std::vector<ExprPtr> items;
  while (!is_operator("]")) {
    if (!items.empty()) {
      expect_operator(",");
      if (is_operator("]")) {
        break;
      }
    }
    items.push_back(expression());
  }
  expect_operator("]");
  return make(line, SequenceNode{std::move(items), false});
}

ExprPtr Parser::dict_literal() {
  const int line = current().line;
  expect_operator("{");
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
  while (!is_operator("}")) {
    if (!items.empty()) {
      expect_operator(",");
      if (is_operator("}")) {
        break;
      }
    }
    ExprPtr key = expression();
    expect_operator(":");
    items.emplace_back(std::move(key), expression());
  }
  expect_operator("}");
  return make(line, DictNode{std::move(items)});
}

ExprPtr Parser::postfix(ExprPtr node) {
  while (true) {
    const int line = current().line;
    if (is_operator(".") || is_operator("[")) {
      node = subscript(std::move(node));
    } else if (is_operator("(")) {
      node = make(line, CallNode{std::move(node), call_arguments()});
    } else {
      return node;
    }
  }
}

ExprPtr Parser::filters_and_tests(ExprPtr node) {
  while (true) {
    const int line = current().line;
    if (is_operator("|")) {
      node = filter_chain(std::move(node), false);
    } else if (is_name("is")) {
      node = test(std::move(node));
    } else if (is_operator("(")) {
      node = make(line, CallNode{std::move(node), call_arguments()});
    } else {
      return node;
    }
  }
}

ExprPtr Parser::subscript(ExprPtr node) {
  const int line = current().line;
  if (skip_operator(".")) {
    if (current().kind == TokenKind::kName) {
      return make(line, AttributeNode{std::move(node), expect_name()});
    }
    if (current().kind != TokenKind::kInteger) {
      fail("expected a name or a number behind '.'");
    }
    const std::int64_t index = current().integer;
    ++at_;
    return make(line, ItemNode{std::move(node), make(line, ConstNode{index})});
  }
  expect_operator("[");
  std::vector<ExprPtr> indices;
  while (!is_operator("]")) {
    if (!indices.empty()) {
      expect_operator(",");
    }
    indices.push_back(subscript_index());
  }
  expect_operator("]");
  ExprPtr index = indices.size() == 1 ? std::move(indices.front())
                                      : make(line, SequenceNode{std::move(indices), true});
  return make(line, ItemNode{std::move(node), std::move(index)});
}

ExprPtr Parser::subscript_index() {
  const int line = current().line;
  SliceNode slice;
  if (!is_operator(":")) {
    ExprPtr first = expression();
    if (!is_operator(":")) {
      return first;
    }
    slice.start = std::move(first);
  }
  expect_operator(":");
  const auto part = [this]() -> ExprPtr {
    return is_operator("]") || is_operator(",") || is_operator(":") ? nullptr : expression();
  };
  slice.stop = part();
  if (skip_operator(":")) {
    slice.step = part();
  }
  return make(line, std::move(slice));
}

CallArgs Parser::call_arguments() {
  expect_operator("(");
  const auto ensure = [this](bool ok) {
    if (!ok) {
      fail("invalid syntax for function call expression");
    }
  };
  CallArgs args;
  bool first = true;
  while (!is_operator(")")) {
    if (!first) {
      expect_operator(",");
      if (is_operator(")")) {
        break;
      }
    }
    first = false;
    if (skip_operator("*")) {
      ensure(args.star == nullptr && args.star_star == nullptr);
      args.star = expression();
    } else if (skip_operator("**")) {
      ensure(args.star_star == nullptr);
      args.star_star = expression();
    } else if (current().kind == TokenKind::kName && next_token().kind == TokenKind::kOperator &&
               next_token().text == "=") {
      ensure(args.star_star == nullptr);
      std::string key = expect_name();
      ++at_;
      args.keyword.emplace_back(std::move(key), expression());
    } else {
      ensure(args.star == nullptr && args.star_star == nullptr && args.keyword.empty());
      args.positional.push_back(expression());
    }
  }
  expect_operator(")");
  return args;
}

// input|a|b(...); a block's first filter stands without its pipe.
ExprPtr Parser::filter_chain(ExprPtr input, bool first_without_pipe) {
  while (first_without_pipe || skip_operator("|")) {
    first_without_pipe = false;
    const int line = current().line;
    std::string name = expect_name();
    while (skip_operator(".")) {
      name += "." + expect_name();
    }
    CallArgs args = is_operator("(") ? call_arguments() : CallArgs{};
    input = make(line, FilterNode{std::move(input), std::move(name), std::move(args)});
  }
  return input;
}

ExprPtr Parser::test(ExprPtr input) {
  ++at_;  // is
  const bool negated = skip_name("not");
  const int line = current().line;
  std::string name = expect_name();
  while (skip_operator(".")) {
    name += "." + expect_name();
  }
  CallArgs args;
  const TokenKind kind = current().kind;
  const bool word = kind == TokenKind::kName;
  if (is_operator("(")) {
    args = call_arguments();
  } else if ((word && !is_name("else") && !is_name("or") && !is_name("and")) ||
             kind == TokenKind::kString || kind == TokenKind::kInteger ||
             kind == TokenKind::kFloat || is_operator("[") || is_operator("{")) {
    if (is_name("is")) {
      fail("tests with 'is' cannot be chained");
    }
    const Depth depth(*this);
    args.positional.push_back(postfix(primary()));
  }
  ExprPtr node = make(line, TestNode{std::move(input), std::move(name), std::move(args)});
  return negated ? make(line, UnaryNode{UnaryOp::kNot, std::move(node)}) : std::move(node);
}

}  // namespace mg::jinja
