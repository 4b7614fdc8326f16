#include "kernels/core/error.h"

#include <utility>

namespace mg {

Error::Error(ErrorParts parts, ErrorKind kind)
    : parts_(std::move(parts)), kind_(kind), text_(render_error(parts_)) {}

std::string render_error(const ErrorParts& parts) {
  std::string text = "error[" + parts.code + "]: " + parts.what;
  if (!parts.where.empty()) {
    text += "\n  where:    " + parts.where;
  }
  if (!parts.expected.empty() || !parts.actual.empty()) {
    text += "\n  ";
    if (!parts.expected.empty()) {
      text += "expected: " + parts.expected;
    }
    if (!parts.actual.empty()) {
      text += (parts.expected.empty() ? "actual:   " : "   actual: ") + parts.actual;
    }
  }
  if (!parts.hint.empty()) {
    text += "\n  hint:     " + parts.hint;
  }
  return text;
}

void check_failed(const char* condition, const char* file, int line, std::string_view message) {
  throw Error({.code = "internal.check",
               .what = std::string(message),
               .where = std::string(file) + ":" + std::to_string(line),
               .expected = condition,
               .actual = {},
               .hint = "this is a bug in mergegauge; please report it with the command you ran"},
              ErrorKind::kInternal);
}

}  // namespace mg
