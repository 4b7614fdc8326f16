#include "harness/io/chat_template/jinja_parser.h"

#include <algorithm>
#include <array>

#include "harness/io/chat_template/jinja_parser_impl.h"

namespace mg::jinja {
namespace {

constexpr int kMaxParseDepth = 400;

}  // namespace

Parser::Depth::Depth(Parser& parser) : parser_(parser) {
  if (++parser_.depth_ > kMaxParseDepth) {
    parser_.fail("the template is nested too deeply");
  }
}

Parser::Parser(std::string_view source, std::string_view name) : tokens_(lex(source, name)) {
  template_.name = std::string(name);
}

void Parser::fail(const std::string& what) const {
  fail_at(template_.name, current().line, "chat_template.syntax", what);
}

std::string Parser::describe(const Token& token) const {
  switch (token.kind) {
    case TokenKind::kBlockEnd:
      return "the end of the tag";
    case TokenKind::kVariableEnd:
      return "the end of the variable tag";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return std::string("'").append(token.text).append("'");
  }
}

bool Parser::skip_name(std::string_view name) {
  if (!is_name(name)) {
    return false;
  }
  ++at_;
  return true;
}

bool Parser::skip_operator(std::string_view text) {
  if (!is_operator(text)) {
    return false;
  }
  ++at_;
  return true;
}

void Parser::expect_operator(std::string_view text) {
  if (!skip_operator(text)) {
    fail(std::string("expected '").append(text).append("', got ") + describe(current()));
  }
}

std::string Parser::expect_name() {
  if (current().kind != TokenKind::kName) {
    fail("expected a name, got " + describe(current()));
  }
  return tokens_[at_++].text;
}

void Parser::expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind) {
    fail(std::string("expected ").append(what).append(", got ") + describe(current()));
  }
  ++at_;
}

NameId Parser::id_of(const std::string& name) {
  const auto [found, added] =
      name_ids_.try_emplace(name, static_cast<NameId>(template_.names.size()));
  if (added) {
    template_.names.push_back(name);
  }
  return found->second;
}

Template Parser::run() {
  template_.body = body_until({}, false);
  return std::move(template_);
}

// Statements up to {% END, the word included when `drop_end`, and then the tag's end too.  Without
// ends: up to the template's end.
Body Parser::body_until(std::initializer_list<std::string_view> ends, bool drop_end) {
  const Depth depth(*this);
  Body body;
  while (true) {
    const Token& token = current();
    if (token.kind == TokenKind::kEnd) {
      if (ends.size() > 0) {
        fail(std::string("the template ends before {% ").append(*(ends.end() - 1)).append(" %}"));
      }
      return body;
    }
    if (token.kind == TokenKind::kText) {
      body.push_back({token.line, TextNode{token.text}});
      ++at_;
    } else if (token.kind == TokenKind::kVariableBegin) {
      const int line = token.line;
      ++at_;
      ExprPtr value = expression_or_tuple(true, "", false);
      expect(TokenKind::kVariableEnd, "the end of the variable tag");
      body.push_back({line, PrintNode{std::move(value)}});
    } else {
      ++at_;  // {%
      const bool end = std::any_of(ends.begin(), ends.end(),
                                   [this](std::string_view word) { return is_name(word); });
      if (end) {
        if (drop_end) {
          ++at_;
          expect(TokenKind::kBlockEnd, "the end of the tag");
        }
        return body;
      }
      statement(body);
    }
  }
}

void Parser::statement(Body& body) {
  const int line = current().line;
  if (current().kind != TokenKind::kName) {
    fail("a tag's name is missing");
  }
  const std::string word = current().text;
  static constexpr std::array<std::string_view, 10> kUnsupported = {
      "extends", "block", "include",    "import", "from",
      "do",      "trans", "autoescape", "debug",  "pluralize"};
  if (std::find(kUnsupported.begin(), kUnsupported.end(), word) != kUnsupported.end()) {
    fail_at(
        template_.name, line, "chat_template.unsupported",
        std::string("the tag {% ").append(word).append(" %} is not supported in chat templates"));
  }
  ++at_;
  if (word == "if") {
    body.push_back({line, if_statement()});
  } else if (word == "for") {
    body.push_back({line, for_statement()});
  } else if (word == "set") {
    body.push_back(set_statement(line));
  } else if (word == "macro") {
    body.push_back({line, macro_statement()});
  } else if (word == "call") {
    body.push_back({line, call_statement()});
  } else if (word == "filter") {
    body.push_back({line, filter_statement()});
  } else if (word == "with") {
    body.push_back({line, with_statement()});
  } else if (word == "print") {
    body.push_back({line, PrintNode{expression_or_tuple(true, "", false)}});
    expect(TokenKind::kBlockEnd, "the end of the tag");
  } else if (word == "generation") {
    expect(TokenKind::kBlockEnd, "the end of the tag");
    // Its body is a function of its own to Jinja: loops around it cannot be left from inside.
    const int loops = std::exchange(loops_, 0);
    body.push_back({line, GenerationNode{body_until({"endgeneration"}, true)}});
    loops_ = loops;
  } else if (word == "break" || word == "continue") {
    if (loops_ == 0) {
      fail("{% " + word + " %} outside of a loop");
    }
    expect(TokenKind::kBlockEnd, "the end of the tag");
    body.push_back(word == "break" ? Stmt{line, BreakNode{}} : Stmt{line, ContinueNode{}});
  } else {
    --at_;
    fail("unknown tag {% " + word + " %}");
  }
}

IfNode Parser::if_statement() {
  IfNode node;
  while (true) {
    ExprPtr test = expression_or_tuple(false, "", false);
    expect(TokenKind::kBlockEnd, "the end of the tag");
    Body body = body_until({"elif", "else", "endif"}, false);
    node.branches.emplace_back(std::move(test), std::move(body));
    const std::string word = expect_name();
    if (word == "elif") {
      continue;
    }
    expect(TokenKind::kBlockEnd, "the end of the tag");
    if (word == "else") {
      node.otherwise = body_until({"endif"}, true);
    }
    return node;
  }
}

ForNode Parser::for_statement() {
  ForNode node;
  node.target = target(false);
  if (!skip_name("in")) {
    fail("expected 'in', got " + describe(current()));
  }
  node.items = expression_or_tuple(false, "recursive", false);
  if (skip_name("if")) {
    node.test = expression();
  }
  node.recursive = skip_name("recursive");
  expect(TokenKind::kBlockEnd, "the end of the tag");
  ++loops_;
  node.body = body_until({"endfor", "else"}, false);
  --loops_;
  const std::string word = expect_name();
  expect(TokenKind::kBlockEnd, "the end of the tag");
  if (word == "else") {
    node.otherwise = body_until({"endfor"}, true);
  }
  return node;
}

Stmt Parser::set_statement(int line) {
  Target left = target(true);
  if (skip_operator("=")) {
    SetNode node{std::move(left), expression_or_tuple(true, "", false)};
    expect(TokenKind::kBlockEnd, "the end of the tag");
    return {line, std::move(node)};
  }
  SetBlockNode node{std::move(left), filter_chain(nullptr, false), {}};
  expect(TokenKind::kBlockEnd, "the end of the tag");
  node.body = body_until({"endset"}, true);
  return {line, std::move(node)};
}

void Parser::signature(MacroNode& macro) {
  expect_operator("(");
  while (!is_operator(")")) {
    if (!macro.parameters.empty()) {
      expect_operator(",");
    }
    std::string name = expect_name();
    const NameId id = id_of(name);
    macro.parameters.emplace_back(id, std::move(name));
    if (skip_operator("=")) {
      macro.defaults.push_back(expression());
    } else if (!macro.defaults.empty()) {
      fail("a parameter without default follows one with default");
    }
  }
  expect_operator(")");
}

// A macro takes surplus arguments only if its body names varargs, kwargs or caller.
void Parser::macro_body(MacroNode& macro, std::string_view end) {
  const std::size_t begin = at_;
  const int loops = std::exchange(loops_, 0);
  macro.body = body_until({end}, true);
  loops_ = loops;
  const auto uses = [&](std::string_view name) {
    return std::any_of(tokens_.begin() + static_cast<std::ptrdiff_t>(begin),
                       tokens_.begin() + static_cast<std::ptrdiff_t>(at_), [&](const Token& token) {
                         return token.kind == TokenKind::kName && token.text == name;
                       });
  };
  macro.uses_caller = uses("caller");
  macro.uses_varargs = uses("varargs");
  macro.uses_kwargs = uses("kwargs");
}

MacroNode Parser::macro_statement() {
  MacroNode node;
  node.name = expect_name();
  node.name_id = id_of(node.name);
  signature(node);
  expect(TokenKind::kBlockEnd, "the end of the tag");
  macro_body(node, "endmacro");
  return node;
}

CallBlockNode Parser::call_statement() {
  CallBlockNode node;
  node.caller = std::make_unique<MacroNode>();
  if (is_operator("(")) {
    signature(*node.caller);
  }
  node.call = expression();
  if (!std::holds_alternative<CallNode>(node.call->node)) {
    fail("{% call %} needs a call");
  }
  expect(TokenKind::kBlockEnd, "the end of the tag");
  macro_body(*node.caller, "endcall");
  return node;
}

FilterBlockNode Parser::filter_statement() {
  FilterBlockNode node;
  node.filter = filter_chain(nullptr, true);
  expect(TokenKind::kBlockEnd, "the end of the tag");
  node.body = body_until({"endfilter"}, true);
  return node;
}

WithNode Parser::with_statement() {
  WithNode node;
  while (current().kind != TokenKind::kBlockEnd) {
    if (!node.values.empty()) {
      expect_operator(",");
    }
    Target left = single_target(false);
    expect_operator("=");
    node.values.emplace_back(std::move(left), expression());
  }
  expect(TokenKind::kBlockEnd, "the end of the tag");
  node.body = body_until({"endwith"}, true);
  return node;
}

Target Parser::single_target(bool allow_attribute) {
  if (skip_operator("(")) {
    Target inner = target(allow_attribute);
    expect_operator(")");
    return inner;
  }
  const std::string name = expect_name();
  static constexpr std::array<std::string_view, 6> kConstants = {"true", "false", "none",
                                                                 "True", "False", "None"};
  if (std::find(kConstants.begin(), kConstants.end(), name) != kConstants.end()) {
    fail("cannot assign to '" + name + "'");
  }
  Target out;
  out.name = id_of(name);
  if (allow_attribute && skip_operator(".")) {
    out.attribute = expect_name();
  }
  return out;
}

Target Parser::target(bool allow_attribute) {
  const Depth depth(*this);
  std::vector<Target> items;
  bool tuple = false;
  while (!(tuple && (is_name("in") || is_operator("=") || is_operator(")")))) {
    items.push_back(single_target(allow_attribute));
    if (!skip_operator(",")) {
      break;
    }
    tuple = true;
  }
  if (!tuple) {
    return std::move(items.front());
  }
  Target out;
  out.tuple = std::move(items);
  out.is_tuple = true;
  return out;
}

Template parse(std::string_view source, std::string_view name) {
  return Parser(source, name).run();
}

}  // namespace mg::jinja
