// The one exception type, thrown at the borders (files, configs, devices) and caught in
// harness/cli. Not for: regressions of a model (those are Verdicts) or bugs (MG_CHECK).
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace mg {

/// Which exit code an error leads to (DESIGN.md section 6).
enum class ErrorKind {
  kInput,     // unusable input, unsupported format: exit 2
  kUsage,     // wrong command line: exit 2, no report is written
  kInternal,  // our own fault or the device's: exit 4
};

/// The five parts of every message; empty parts are left out when printed.
struct ErrorParts {
  std::string code;   // dotted, stable: "safetensors.header-too-large"
  std::string what;   // one sentence
  std::string where;  // file, then key or tensor
  std::string expected;
  std::string actual;
  std::string hint;  // what to do
};

class Error final : public std::exception {
 public:
  explicit Error(ErrorParts parts, ErrorKind kind = ErrorKind::kInput);

  const char* what() const noexcept override { return text_.c_str(); }
  const ErrorParts& parts() const noexcept { return parts_; }
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorParts parts_;
  ErrorKind kind_;
  std::string text_;  // the message as printed, see render_error
};

/// "error[code]: what" and one indented line for each of where, expected and actual, hint.
std::string render_error(const ErrorParts& parts);

[[noreturn]] void check_failed(const char* condition, const char* file, int line,
                               std::string_view message);

}  // namespace mg

/// For what no input can cause; throws an internal Error. __builtin_FILE, unlike __FILE__, leaves
/// no absolute path in the preprocessed text, so that a compiler cache serves every clone.
#define MG_CHECK(condition, message)                                         \
  do {                                                                       \
    if (!(condition)) {                                                      \
      ::mg::check_failed(#condition, __builtin_FILE(), __LINE__, (message)); \
    }                                                                        \
  } while (false)
