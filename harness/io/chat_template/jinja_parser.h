// Tokens to a syntax tree, by the grammar of jinja2/parser.py with transformers' extensions: loop
// controls and
// {% generation %}.  Refused by name: extends, block, include, import, from, do, trans, autoescape.
#pragma once

#include <string_view>

#include "harness/io/chat_template/jinja_ast.h"

namespace mg::jinja {

/// Throws Error "chat_template.syntax", "chat_template.unsupported" with the line.
Template parse(std::string_view source, std::string_view name);

}  // namespace mg::jinja
