#include "harness/io/tokenizer/component.h"

#include "harness/io/json_file.h"
#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

const nlohmann::json& null_json() {
  static const nlohmann::json null;
  return null;
}

}  // namespace

bool Component::has(std::string_view key) const {
  return value_->is_object() && value_->contains(key);
}

Component Component::get(std::string_view key) const {
  const std::string path = path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  if (!value_->is_object()) {
    bad("an object");
  }
  const auto found = value_->find(key);
  return {found == value_->end() ? null_json() : *found, file_, path};
}

Component Component::at(std::string_view key) const {
  Component member = get(key);
  if (!has(key)) {
    member.bad("a value");
  }
  return member;
}

std::vector<Component> Component::items() const {
  if (!value_->is_array()) {
    bad("a list");
  }
  std::vector<Component> out;
  std::size_t index = 0;
  for (const auto& element : *value_) {
    out.emplace_back(element, file_, path_ + "[" + std::to_string(index++) + "]");
  }
  return out;
}

std::string Component::as_string() const {
  if (!value_->is_string()) {
    bad("a string");
  }
  return value_->get<std::string>();
}

bool Component::as_bool() const {
  if (!value_->is_boolean()) {
    bad("true or false");
  }
  return value_->get<bool>();
}

std::int64_t Component::as_integer() const {
  // Ids are 32-bit in the reference; larger numbers would also overflow ours.
  if (!value_->is_number_integer() || *value_ < 0 || *value_ > 0x7FFFFFFF) {
    bad("a whole number below 2147483648");
  }
  return value_->get<std::int64_t>();
}

bool Component::flag_or(std::string_view key, bool missing) const {
  const Component member = get(key);
  return member.is_null() ? missing : member.as_bool();
}

char32_t Component::character(std::string_view key) const {
  const std::string text = this->text(key);
  if (text.empty() || count_code_points(text) != 1) {
    at(key).bad("one character");
  }
  return code_point_at(text, 0).value;
}

void Component::unknown(std::string_view kind) const {
  throw Error({.code = "tokenizer.unknown-component",
               .what = std::string(kind) + " \"" + type() + "\" is not known to this reader",
               .where = where(),
               .expected = {},
               .actual = {},
               .hint = "leaving it out would change token ids; please report the model"});
}

void Component::bad(std::string_view expected) const {
  std::string actual = value_->is_null() ? "null or missing" : std::string(json_kind(*value_));
  if (!value_->is_structured() && !value_->is_null()) {
    actual = value_->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  throw Error({.code = "tokenizer.bad-component",
               .what = "a member of the tokenizer's file has the wrong type or value",
               .where = where(),
               .expected = std::string(expected),
               .actual = std::move(actual),
               .hint = {}});
}

}  // namespace mg
