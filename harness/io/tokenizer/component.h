// Reading one component of tokenizer.json: typed members of a JSON object, with errors that name
// the file and the path.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

class Component {
 public:
  Component(const nlohmann::json& value, std::string file, std::string path)
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  bool is_null() const { return value_->is_null(); }
  /// "tokenizer.json, pre_tokenizer.pretokenizers[1]"
  std::string where() const { return path_.empty() ? file_ : file_ + ", " + path_; }

  bool has(std::string_view key) const;
  /// A member that must be there / may be missing (then a null component).
  Component at(std::string_view key) const;
  Component get(std::string_view key) const;
  /// The elements of a list.
  std::vector<Component> items() const;

  std::string as_string() const;
  bool as_bool() const;
  std::int64_t as_integer() const;

  std::string text(std::string_view key) const { return at(key).as_string(); }
  bool flag(std::string_view key) const { return at(key).as_bool(); }
  bool flag_or(std::string_view key, bool missing) const;
  /// The member "type".
  std::string type() const { return text("type"); }

  /// A text of exactly one character.
  char32_t character(std::string_view key) const;

  /// Throws Error "tokenizer.unknown-component": a `kind` ("normalizer") whose type this reader
  /// does not know.
  [[noreturn]] void unknown(std::string_view kind) const;
  /// Throws Error "tokenizer.bad-component".
  [[noreturn]] void bad(std::string_view expected) const;

 private:
  const nlohmann::json* value_;
  std::string file_;
  std::string path_;
};

}  // namespace mg
