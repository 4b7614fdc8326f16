// Regular expressions as Python's `re` reads them, for patterns that come from adapter_config.json.
// PCRE2 shares its syntax (groups, classes, look-around, (?P<name>...)); Unicode is on, as for
// Python's str. A pattern that backtracks without end is stopped and reported, where Python would
// hang.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace mg {

class PythonRegex {
 public:
  /// Throws Error "regex.syntax" with the position; `where` names the file and key.
  PythonRegex(std::string_view pattern, std::string_view where);
  ~PythonRegex();
  PythonRegex(PythonRegex&&) noexcept;
  PythonRegex& operator=(PythonRegex&&) noexcept;

  /// re.fullmatch
  bool full_match(std::string_view text) const;
  /// re.match: anchored at the start only.
  bool match(std::string_view text) const;
  /// re.match; the named group's text in `group`, empty when it took no part.
  bool match(std::string_view text, const std::string& name, std::string& group) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
  std::string where_;
};

/// Whether a pattern has no operator but the dot (module paths are such patterns): it matches by
/// comparing bytes.
bool is_plain_pattern(std::string_view pattern);

}  // namespace mg
