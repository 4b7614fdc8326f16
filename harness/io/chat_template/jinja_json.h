// JSON in and out of a template's values.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "harness/io/chat_template/jinja_value.h"

namespace mg::jinja {

/// The value of a JSON document; objects keep their order.  Throws Error "chat_template.integer"
/// for integers of more than 64 bits.
Value from_json(Heap& heap, const nlohmann::ordered_json& json);

struct JsonStyle {
  bool ascii = false;  // escape what is not ASCII
  std::string indent;  // one level; used when indented
  bool indented = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sorted = false;
};

/// json.dumps of Python.
std::string to_json(Interpreter& run, const Value& value, const JsonStyle& style);

}  // namespace mg::jinja
