// The parser's state, shared by its two halves: jinja_parser.cc (statements) and
// jinja_parse_expr.cc (expressions).
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "harness/io/chat_template/jinja_ast.h"
#include "harness/io/chat_template/jinja_lexer.h"

namespace mg::jinja {

class Parser {
 public:
  Parser(std::string_view source, std::string_view name);
  Template run();

 private:
  // Tokens.
  const Token& current() const { return tokens_[at_]; }
  const Token& next_token() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is_name(std::string_view name) const {
    return current().kind == TokenKind::kName && current().text == name;
  }
  bool is_operator(std::string_view text) const {
    return current().kind == TokenKind::kOperator && current().text == text;
  }
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view text);
  void expect_operator(std::string_view text);
  std::string expect_name();
  void expect(TokenKind kind, std::string_view what);
  std::string describe(const Token& token) const;
  [[noreturn]] void fail(const std::string& what) const;
  NameId id_of(const std::string& name);

  // Statements.
  Body body_until(std::initializer_list<std::string_view> ends, bool drop_end);
  void statement(Body& body);
  IfNode if_statement();
  ForNode for_statement();
  Stmt set_statement(int line);
  MacroNode macro_statement();
  CallBlockNode call_statement();
  FilterBlockNode filter_statement();
  WithNode with_statement();
  void signature(MacroNode& macro);
  void macro_body(MacroNode& macro, std::string_view end);
  Target target(bool allow_attribute);
  Target single_target(bool allow_attribute);

  // Expressions.
  ExprPtr expression();
  ExprPtr expression_or_tuple(bool with_condition, std::string_view end_name, bool parentheses);
  ExprPtr condition();
  ExprPtr logic_or();
  ExprPtr logic_and();
  ExprPtr logic_not();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filter);
  ExprPtr primary();
  ExprPtr name_or_constant();
  ExprPtr list_literal();
  ExprPtr dict_literal();
  ExprPtr postfix(ExprPtr node);
  ExprPtr filters_and_tests(ExprPtr node);
  ExprPtr subscript(ExprPtr node);
  ExprPtr subscript_index();
  ExprPtr filter_chain(ExprPtr input, bool first_without_pipe);
  ExprPtr test(ExprPtr input);
  CallArgs call_arguments();
  bool tuple_ends(std::string_view end_name) const;

  // Recursion is bounded: a template is data.
  struct Depth {
    explicit Depth(Parser& parser);
    ~Depth() { --parser_.depth_; }
    Parser& parser_;
  };

  template <typename Node>
  ExprPtr make(int line, Node node) {
    return std::make_unique<Expr>(Expr{line, std::move(node)});
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;  // around the current statement, inside the current macro
  Template template_;
  std::unordered_map<std::string, NameId> name_ids_;
};

}  // namespace mg::jinja
