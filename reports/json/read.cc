#include <fmt/format.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <type_traits>

#include "kernels/core/error.h"
#include "reports/json/fields.h"
#include "reports/json/names.h"
#include "reports/json/report_json.h"

namespace mg {
namespace report_json {
namespace {

using Json = nlohmann::ordered_json;

/// Where a value stands: "comparisons[0].metrics.kl", and the file for messages.
struct Location {
  std::string_view file;
  std::string path;

  Location key(std::string_view name) const {
    return {file, path.empty() ? std::string(name) : fmt::format("{}.{}", path, name)};
  }
  Location index(std::size_t i) const { return {file, fmt::format("{}[{}]", path, i)}; }
};

[[noreturn]] void wrong_type(const Location& at, std::string expected, const Json& value) {
  constexpr std::size_t kMost = 60;
  std::string shown = value.dump(-1, ' ', /*ensure_ascii=*/true);
  if (shown.size() > kMost) {
    shown = shown.substr(0, kMost) + "...";
  }
  throw Error({.code = "report.wrong-type",
               .what = "a value of the report has another type than the schema's",
               .where = fmt::format("{}: {}", at.file, at.path),
               .expected = std::move(expected),
               .actual = std::move(shown),
               .hint = ""});
}

void decode(const Json& json, const Location& at, std::string& out) {
  if (!json.is_string()) {
    wrong_type(at, "a string", json);
  }
  out = json.get<std::string>();
}

void decode(const Json& json, const Location& at, bool& out) {
  if (!json.is_boolean()) {
    wrong_type(at, "true or false", json);
  }
  out = json.get<bool>();
}

void decode(const Json& json, const Location& at, double& out) {
  if (!json.is_number()) {
    wrong_type(at, "a number", json);
  }
  out = json.get<double>();
}

template <typename T>
requires std::is_integral_v<T>
void decode(const Json& json, const Location& at, T& out) {
  const bool fits =
      json.is_number_unsigned()
          ? json.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<T>::max())
          : json.is_number_integer() && std::is_signed_v<T> &&
                json.get<std::int64_t>() >=
                    static_cast<std::int64_t>(std::numeric_limits<T>::min());
  if (!fits) {
    wrong_type(at, "a whole number", json);
  }
  out = json.get<T>();
}

template <typename T>
requires std::is_enum_v<T>
void decode(const Json& json, const Location& at, T& out) {
  const auto value =
      json.is_string() ? enum_from<T>(json.get_ref<const std::string&>()) : std::optional<T>();
  if (!value) {
    wrong_type(at, "a name that the schema lists", json);
  }
  out = *value;
}

/// An end of an interval or bin: null where it is infinite, since JSON has no infinity.
double decode_end(const Json& json, const Location& at, double when_null) {
  double value = when_null;
  if (!json.is_null()) {
    decode(json, at, value);
  }
  return value;
}

void decode(const Json& json, const Location& at, Interval& out) {
  if (!json.is_array() || json.size() != 2) {
    wrong_type(at, "[lower, upper]", json);
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  out.lower = decode_end(json[0], at.index(0), -kInfinity);
  out.upper = decode_end(json[1], at.index(1), kInfinity);
}

template <typename T>
void decode(const Json& json, const Location& at, std::optional<T>& out);
template <typename T>
void decode(const Json& json, const Location& at, std::vector<T>& out);
template <typename Record>
requires std::is_class_v<Record>
void decode(const Json& json, const Location& at, Record& out);
void decode(const Json& json, const Location& at, TopToken& out);
void decode(const Json& json, const Location& at, std::vector<NamedMetric>& out);
void decode(const Json& json, const Location& at, std::vector<LaneTop>& out);
void decode(const Json& json, const Location& at, std::vector<Phase>& out);

class Reader {
 public:
  Reader(const Json& object, const Location& at) : object_(object), at_(at) {
    if (!object.is_object()) {
      wrong_type(at, "an object", object);
    }
  }

  template <typename T>
  void required(const char* key, T& out) {
    const auto found = object_.find(key);
    if (found == object_.end()) {
      throw Error({.code = "report.missing-key",
                   .what = "the report lacks a key that every report has",
                   .where = fmt::format("{}: {}", at_.file, at_.key(key).path),
                   .expected = fmt::format("\"{}\"", key),
                   .actual = "absent",
                   .hint = ""});
    }
    decode(*found, at_.key(key), out);
  }

  template <typename T>
  void optional(const char* key, T& out) {
    const auto found = object_.find(key);
    if (found != object_.end()) {
      decode(*found, at_.key(key), out);
    }
  }

  void unbounded(const char* key, double& out) {
    const auto found = object_.find(key);
    constexpr double kNone = std::numeric_limits<double>::max();
    out = found == object_.end() ? kNone : decode_end(*found, at_.key(key), kNone);
  }

  void json_text(const char* key, std::optional<std::string>& out) {
    const auto found = object_.find(key);
    if (found != object_.end() && !found->is_null()) {
      out = found->dump();
    }
  }

 private:
  const Json& object_;
  const Location& at_;
};

template <typename T>
void decode(const Json& json, const Location& at, std::optional<T>& out) {
  if (json.is_null()) {
    out.reset();
    return;
  }
  T value{};
  decode(json, at, value);
  out = std::move(value);
}

template <typename T>
void decode(const Json& json, const Location& at, std::vector<T>& out) {
  if (!json.is_array()) {
    wrong_type(at, "a list", json);
  }
  out.clear();
  for (std::size_t i = 0; i < json.size(); ++i) {
    T value{};
    decode(json[i], at.index(i), value);
    out.push_back(std::move(value));
  }
}

template <typename Record>
requires std::is_class_v<Record>
void decode(const Json& json, const Location& at, Record& out) {
  Reader reader(json, at);
  fields(reader, out);
}

void decode(const Json& json, const Location& at, TopToken& out) {
  if (!json.is_array() || json.size() < 2 || json.size() > 3) {
    wrong_type(at, "[text, probability, id]", json);
  }
  decode(json[0], at.index(0), out.text);
  decode(json[1], at.index(1), out.probability);
  if (json.size() == 3) {
    decode(json[2], at.index(2), out.id);
  }
}

/// Calls `body(key, value, location)` for each entry of an object.
template <typename Body>
void for_entries(const Json& json, const Location& at, const Body& body) {
  if (!json.is_object()) {
    wrong_type(at, "an object", json);
  }
  for (const auto& [key, value] : json.items()) {
    body(key, value, at.key(key));
  }
}

void decode(const Json& json, const Location& at, std::vector<NamedMetric>& out) {
  out.clear();
  for_entries(json, at, [&](const std::string& key, const Json& value, const Location& place) {
    out.push_back({key, {}});
    decode(value, place, out.back().summary);
  });
}

void decode(const Json& json, const Location& at, std::vector<LaneTop>& out) {
  out.clear();
  for_entries(json, at, [&](const std::string& key, const Json& value, const Location& place) {
    out.push_back({key, {}});
    decode(value, place, out.back().tokens);
  });
}

void decode(const Json& json, const Location& at, std::vector<Phase>& out) {
  out.clear();
  for_entries(json, at, [&](const std::string& key, const Json& value, const Location& place) {
    out.push_back({key, 0.0});
    decode(value, place, out.back().seconds);
  });
}

Json parse(std::string_view text, std::string_view where) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw Error({.code = "report.json",
                 .what = "the report is not valid JSON",
                 .where = std::string(where),
                 .expected = "a report.json that mergegauge wrote",
                 .actual = fmt::format("an error at byte {}", error.byte),
                 .hint = ""});
  }
}

void check_schema(const Json& json, std::string_view where) {
  const bool ours = json.is_object() && json.contains("schema") && json["schema"].is_string() &&
                    json["schema"].get_ref<const std::string&>() == kReportSchema;
  if (!ours) {
    const bool other = json.is_object() && json.contains("schema");
    throw Error(
        {.code = "report.schema",
         .what = "the file is not a report this version reads",
         .where = std::string(where),
         .expected = fmt::format("\"schema\": \"{}\"", kReportSchema),
         .actual = other ? fmt::format("\"schema\": {}", json["schema"].dump()) : "no \"schema\"",
         .hint = "give the report.json that `mergegauge check` wrote"});
  }
}

}  // namespace
}  // namespace report_json

Report read_report_json(std::string_view text, std::string_view where) {
  using report_json::Json;
  const Json json = report_json::parse(text, where);
  report_json::check_schema(json, where);
  const report_json::Location root{where, ""};
  report_json::Reader reader(json, root);
  Report report;
  std::string status;
  int code = 0;
  reader.required("status", status);
  reader.required("exit_code", code);
  const auto run_status = run_status_from(status, code);
  if (!run_status) {
    report_json::wrong_type(root.key("status"), "a status that matches its exit_code",
                            Json(fmt::format("{} with exit_code {}", status, code)));
  }
  report.status = *run_status;
  report_json::fields(reader, report);
  return report;
}

std::string read_report_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) {
    text << file.rdbuf();
  }
  if (!file || !text) {
    throw Error({.code = "report.unreadable",
                 .what = "the report cannot be read",
                 .where = path.string(),
                 .expected = "a readable report.json",
                 .actual = "reading failed",
                 .hint = ""});
  }
  return text.str();
}

Report read_report_file(const std::filesystem::path& path) {
  return read_report_json(read_report_text(path), path.string());
}

}  // namespace mg
