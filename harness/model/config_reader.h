// Reads one JSON object of a config file and remembers which keys were looked at, so that a key
// nobody reads is reported instead of dropped: a key that was not read is a computation that was
// not done. Not for: deciding what an unread key means (DESIGN.md section 6; the lint rules and the
// audit do).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

class ConfigReader {
 public:
  /// `object` must outlive the reader.  `file` and `path` ("text_config", "" at the root) name keys
  /// in errors. Throws Error "config.wrong-type" when `object` is not an object.
  ConfigReader(const nlohmann::json& object, std::string_view file, std::string_view path = "");

  /// Whether the key is there, even if null.  Does not consume.
  bool contains(std::string_view key) const;
  /// Whether the key is there and not null.  Does not consume.
  bool has_value(std::string_view key) const;
  /// Consumes the key; nullptr when it is absent or null.
  const nlohmann::json* find(std::string_view key);
  void consume(std::string_view key) { consumed_.emplace(key); }

  /// A size: an integer in [1, most].  The default bound keeps sums of products of two sizes within
  /// 63 bits.  Throws Error "config.missing-key", "config.wrong-type", "config.out-of-range".
  std::int64_t dimension(std::string_view key, std::int64_t most = kLargestDimension);
  std::int64_t dimension_or(std::string_view key, std::int64_t fallback,
                            std::int64_t most = kLargestDimension);
  static constexpr std::int64_t kLargestDimension = std::int64_t{1} << 28;

  // Null reads as absent.  Throw Error "config.wrong-type".
  std::optional<std::int64_t> integer(std::string_view key);
  std::optional<double> number(std::string_view key);
  std::optional<bool> boolean(std::string_view key);
  std::optional<std::string> text(std::string_view key);
  std::optional<std::vector<double>> numbers(std::string_view key);
  std::optional<std::vector<std::int64_t>> integers(std::string_view key);
  std::optional<std::vector<std::string>> texts(std::string_view key);
  double number_or(std::string_view key, double fallback) { return number(key).value_or(fallback); }
  /// A finite number above zero (or zero, with `zero_too`).  Throws as number() and Error
  /// "config.unsupported".
  double positive_or(std::string_view key, double fallback, bool zero_too = false);
  bool boolean_or(std::string_view key, bool fallback) { return boolean(key).value_or(fallback); }
  /// A reader of the object under `key`; nothing when it is absent or null.
  std::optional<ConfigReader> object(std::string_view key);

  /// Keys neither consumed nor listed in `inert`, as paths; neutral ones (null, false, 0, empty)
  /// apart.
  struct Leftovers {
    std::vector<std::string> unknown;
    std::vector<std::string> neutral;
  };
  Leftovers leftovers(std::span<const std::string_view> inert) const;

  const nlohmann::json& raw() const { return *object_; }
  /// "config.json, key rope_scaling.factor"
  std::string where(std::string_view key) const;

  // Raise the errors that readers share.
  [[noreturn]] void fail_missing(std::string_view key, std::string_view meaning) const;
  [[noreturn]] void fail_unsupported(std::string_view key, std::string_view expected,
                                     std::string_view hint) const;
  [[noreturn]] void fail_unknown(std::string_view key, std::string_view value,
                                 std::span<const std::string_view> known) const;

 private:
  [[noreturn]] void fail_type(std::string_view key, std::string_view expected) const;
  const nlohmann::json* require(std::string_view key);

  const nlohmann::json* object_;
  std::string file_;
  std::string path_;
  std::set<std::string, std::less<>> consumed_;
};

/// Null, false, 0, "", [], {}: a value that asks for nothing.
bool is_neutral(const nlohmann::json& value);

/// The entry of `known` closest to `name` by edit distance; empty when none is near.
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> known);

/// "a, b, c"
std::string join_names(std::span<const std::string_view> names);

}  // namespace mg
