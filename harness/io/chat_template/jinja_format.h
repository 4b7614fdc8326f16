// Python's two ways to format text: "%s" % value and "{}".format(value).
#pragma once

#include <string>
#include <string_view>

#include "harness/io/chat_template/jinja_value.h"

namespace mg::jinja {

/// template % values.  Conversions: s r d i f F e g x X o c %, with flags, width and precision.
std::string format_percent(Interpreter& run, std::string_view format, const Value& values);

/// template.format(...).  Fields: {}, {0}, {name}, with .attribute and [item], !s !r, and a format
/// specification.
std::string format_braces(Interpreter& run, std::string_view format, const Arguments& arguments);

}  // namespace mg::jinja
