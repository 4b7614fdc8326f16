// A parsed template: expressions and statements of the Jinja language
// (https://jinja.palletsprojects.com/templates).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace mg::jinja {

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<Stmt>;
using NameId = int;  // names are numbered by the parser

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keyword;
  ExprPtr star;       // *args
  ExprPtr star_star;  // **kwargs
};

struct ConstNode {
  std::variant<std::monostate, bool, std::int64_t, double, std::string> value;  // monostate: none
};
struct NameNode {
  NameId name;
};
struct SequenceNode {
  std::vector<ExprPtr> items;
  bool tuple;
};
struct DictNode {
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};
enum class BinaryOp { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow, kAnd, kOr };
struct BinaryNode {
  BinaryOp op;
  ExprPtr left;
  ExprPtr right;
};
enum class UnaryOp { kNegative, kPositive, kNot };
struct UnaryNode {
  UnaryOp op;
  ExprPtr operand;
};
enum class CompareOp { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };
struct CompareNode {
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};
struct ConcatNode {
  std::vector<ExprPtr> items;
};
struct ConditionNode {
  ExprPtr test;
  ExprPtr yes;
  ExprPtr no;  // may be missing: undefined
};
struct AttributeNode {
  ExprPtr object;
  std::string name;
};
struct ItemNode {
  ExprPtr object;
  ExprPtr index;
};
struct SliceNode {
  ExprPtr start;  // each may be missing
  ExprPtr stop;
  ExprPtr step;
};
struct CallNode {
  ExprPtr callee;
  CallArgs args;
};
struct FilterNode {
  ExprPtr input;  // missing: the text of the block the filter belongs to
  std::string name;
  CallArgs args;
};
struct TestNode {
  ExprPtr input;
  std::string name;
  CallArgs args;
};

struct Expr {
  int line;
  std::variant<ConstNode, NameNode, SequenceNode, DictNode, BinaryNode, UnaryNode, CompareNode,
               ConcatNode, ConditionNode, AttributeNode, ItemNode, SliceNode, CallNode, FilterNode,
               TestNode>
      node;
};

/// What can stand left of '=': a name, a namespace's attribute, or several in a tuple.
struct Target {
  NameId name = -1;
  std::string attribute;  // not empty: name.attribute
  std::vector<Target> tuple;
  bool is_tuple = false;
};

struct TextNode {
  std::string text;
};
struct PrintNode {
  ExprPtr value;
};
struct IfNode {
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body otherwise;
};
struct ForNode {
  Target target;
  ExprPtr items;
  ExprPtr test;  // may be missing
  bool recursive = false;
  Body body;
  Body otherwise;
};
struct SetNode {
  Target target;
  ExprPtr value;
};
struct SetBlockNode {
  Target target;
  ExprPtr filter;  // may be missing
  Body body;
};
struct MacroNode {
  std::string name;  // empty: the body of a call block
  NameId name_id = -1;
  std::vector<std::pair<NameId, std::string>> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
  Body body;
};
struct CallBlockNode {
  ExprPtr call;  // a CallNode
  std::unique_ptr<MacroNode> caller;
};
struct FilterBlockNode {
  ExprPtr filter;
  Body body;
};
struct GenerationNode {  // transformers' {% generation %}: the assistant's words
  Body body;
};
struct WithNode {
  std::vector<std::pair<Target, ExprPtr>> values;
  Body body;
};
struct BreakNode {};
struct ContinueNode {};

struct Stmt {
  int line;
  std::variant<TextNode, PrintNode, IfNode, ForNode, SetNode, SetBlockNode, MacroNode,
               CallBlockNode, FilterBlockNode, GenerationNode, WithNode, BreakNode, ContinueNode>
      node;
};

struct Template {
  std::string name;  // for messages
  std::vector<std::string> names;
  Body body;
};

}  // namespace mg::jinja
