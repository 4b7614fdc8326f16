#include "harness/model/config_reader.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "kernels/core/error.h"

namespace mg {
namespace {

using nlohmann::json;

// A value as it may stand in a one-line message.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  constexpr std::size_t kLongest = 60;
  if (text.size() > kLongest) {
    text = text.substr(0, kLongest) + "...";
  }
  return text;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

bool is_neutral(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return true;
    case json::value_t::boolean:
      return !value.get<bool>();
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
    case json::value_t::number_float:
      return value == 0;
    case json::value_t::string:
      return value.get_ref<const std::string&>().empty();
    case json::value_t::array:
    case json::value_t::object:
      return value.empty();
    default:
      return false;
  }
}

std::string_view nearest_name(std::string_view name, std::span<const std::string_view> known) {
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string join_names(std::span<const std::string_view> names) {
  std::string text;
  for (const std::string_view name : names) {
    text += text.empty() ? "" : ", ";
    text += name;
  }
  return text;
}

ConfigReader::ConfigReader(const json& object, std::string_view file, std::string_view path)
    : object_(&object), file_(file), path_(path) {
  if (!object.is_object()) {
    throw Error({.code = "config.wrong-type",
                 .what = path_.empty() ? "the file does not hold a JSON object"
                                       : "\"" + path_ + "\" is not an object",
                 .where = path_.empty() ? file_ : file_ + ", key " + path_,
                 .expected = "an object",
                 .actual = shown(object),
                 .hint = "take config.json from the base model"});
  }
}

std::string ConfigReader::where(std::string_view key) const {
  return file_ + ", key " + (path_.empty() ? "" : path_ + ".") + std::string(key);
}

bool ConfigReader::contains(std::string_view key) const {
  return object_->find(key) != object_->end();
}

bool ConfigReader::has_value(std::string_view key) const {
  const auto it = object_->find(key);
  return it != object_->end() && !it->is_null();
}

const json* ConfigReader::find(std::string_view key) {
  consume(key);
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

void ConfigReader::fail_type(std::string_view key, std::string_view expected) const {
  throw Error({.code = "config.wrong-type",
               .what = "\"" + std::string(key) + "\" has the wrong type",
               .where = where(key),
               .expected = std::string(expected),
               .actual = shown(object_->at(std::string(key))),
               .hint = "take the value from the base model's config.json"});
}

void ConfigReader::fail_missing(std::string_view key, std::string_view meaning) const {
  throw Error({.code = "config.missing-key",
               .what = "\"" + std::string(key) + "\" is missing",
               .where = where(key),
               .expected = std::string(meaning),
               .actual = contains(key) ? "null" : "no such key",
               .hint = "the config is a stub; take config.json from the base model"});
}

void ConfigReader::fail_unsupported(std::string_view key, std::string_view expected,
                                    std::string_view hint) const {
  const auto it = object_->find(key);
  throw Error({.code = "config.unsupported",
               .what = "this value of \"" + std::string(key) + "\" is not supported",
               .where = where(key),
               .expected = std::string(expected),
               .actual = it == object_->end() ? "no such key" : shown(*it),
               .hint = std::string(hint)});
}

void ConfigReader::fail_unknown(std::string_view key, std::string_view value,
                                std::span<const std::string_view> known) const {
  const std::string_view near = nearest_name(value, known);
  throw Error({.code = "config.unknown-value",
               .what = "\"" + std::string(key) + "\" has a value that is not known",
               .where = where(key),
               .expected = "one of " + join_names(known),
               .actual = std::string(value),
               .hint = near.empty() ? "it is not computed here; nothing is guessed in its place"
                                    : "did you mean \"" + std::string(near) + "\"?"});
}

const json* ConfigReader::require(std::string_view key) {
  const json* value = find(key);
  if (value == nullptr) {
    fail_missing(key, "an integer");
  }
  return value;
}

std::int64_t ConfigReader::dimension(std::string_view key, std::int64_t most) {
  const json* value = require(key);
  if (!value->is_number_integer()) {
    fail_type(key, "an integer");
  }
  // Unsigned values beyond int64 wrap to negative ones and are out of range either way.
  const auto number = value->get<std::int64_t>();
  if (number < 1 || number > most) {
    throw Error({.code = "config.out-of-range",
                 .what = "\"" + std::string(key) + "\" is out of range",
                 .where = where(key),
                 .expected = "1 to " + std::to_string(most),
                 .actual = shown(*value),
                 .hint = "take the value from the base model's config.json"});
  }
  return number;
}

std::int64_t ConfigReader::dimension_or(std::string_view key, std::int64_t fallback,
                                        std::int64_t most) {
  if (!has_value(key)) {
    consume(key);
    return fallback;
  }
  return dimension(key, most);
}

double ConfigReader::positive_or(std::string_view key, double fallback, bool zero_too) {
  const double value = number_or(key, fallback);
  const bool right = std::isfinite(value) && (value > 0.0 || (zero_too && value == 0.0));
  if (!right) {
    fail_unsupported(key, zero_too ? "zero or a positive number" : "a positive number",
                     "take the value from the base model's config.json");
  }
  return value;
}

std::optional<std::int64_t> ConfigReader::integer(std::string_view key) {
  const json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number_integer()) {
    fail_type(key, "an integer");
  }
  return value->get<std::int64_t>();
}

std::optional<double> ConfigReader::number(std::string_view key) {
  const json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number()) {
    fail_type(key, "a number");
  }
  return value->get<double>();
}

std::optional<bool> ConfigReader::boolean(std::string_view key) {
  const json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_boolean()) {
    fail_type(key, "true or false");
  }
  return value->get<bool>();
}

std::optional<std::string> ConfigReader::text(std::string_view key) {
  const json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_string()) {
    fail_type(key, "a string");
  }
  return value->get<std::string>();
}

std::optional<std::vector<double>> ConfigReader::numbers(std::string_view key) {
  const json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_array() || !std::all_of(value->begin(), value->end(),
                                         [](const json& item) { return item.is_number(); })) {
    fail_type(key, "an array of numbers");
  }
  return value->get<std::vector<double>>();
}

std::optional<std::vector<std::int64_t>> ConfigReader::integers(std::string_view key) {
  const json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), [](const json& item) {
        return item.is_number_integer();
      })) {
    fail_type(key, "an array of integers");
  }
  return value->get<std::vector<std::int64_t>>();
}

std::optional<std::vector<std::string>> ConfigReader::texts(std::string_view key) {
  const json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_array() || !std::all_of(value->begin(), value->end(),
                                         [](const json& item) { return item.is_string(); })) {
    fail_type(key, "an array of strings");
  }
  return value->get<std::vector<std::string>>();
}

std::optional<ConfigReader> ConfigReader::object(std::string_view key) {
  const json* value = find(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  return ConfigReader(*value, file_,
                      path_.empty() ? std::string(key) : path_ + "." + std::string(key));
}

ConfigReader::Leftovers ConfigReader::leftovers(std::span<const std::string_view> inert) const {
  Leftovers left;
  for (const auto& [key, value] : object_->items()) {
    if (consumed_.contains(key) || std::find(inert.begin(), inert.end(), key) != inert.end()) {
      continue;
    }
    const std::string path = path_.empty() ? key : path_ + "." + key;
    (is_neutral(value) ? left.neutral : left.unknown).push_back(path);
  }
  return left;
}

}  // namespace mg
