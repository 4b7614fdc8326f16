#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "reports/json/fields.h"
#include "reports/json/names.h"
#include "reports/json/report_json.h"

namespace mg {
namespace report_json {
namespace {

using Json = nlohmann::ordered_json;

Json encode(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}
Json encode(const std::string& value) {
  return value;
}
Json encode(const Interval& interval) {
  return Json::array({encode(interval.lower), encode(interval.upper)});
}

template <typename T>
requires std::is_integral_v<T> Json encode(T value) {
  return value;
}

template <typename T>
requires std::is_enum_v<T> Json encode(T value) {
  return enum_name(value);
}

// Declared before the templates that nest, so that every nesting finds every form.
template <typename T>
Json encode(const std::optional<T>& value);
template <typename T>
Json encode(const std::vector<T>& values);
template <typename Record>
requires std::is_class_v<Record> Json encode(const Record& record);
Json encode(const TopToken& token);
Json encode(const std::vector<NamedMetric>& metrics);
Json encode(const std::vector<LaneTop>& lanes);
Json encode(const std::vector<Phase>& phases);

class Writer {
 public:
  explicit Writer(Json& object) : object_(object) {}

  template <typename T>
  void required(const char* key, const T& value) {
    object_[key] = encode(value);
  }
  template <typename T>
  void optional(const char* key, const T& value) {
    object_[key] = encode(value);
  }
  /// An upper end that may not exist: the largest double and infinity are null.
  void unbounded(const char* key, double value) {
    object_[key] = value < std::numeric_limits<double>::max() ? encode(value) : Json(nullptr);
  }
  /// A value that is JSON already; text that is not stands as a string.
  void json_text(const char* key, const std::optional<std::string>& text) {
    if (!text) {
      object_[key] = nullptr;
      return;
    }
    Json value = Json::parse(*text, /*cb=*/nullptr, /*allow_exceptions=*/false);
    object_[key] = value.is_discarded() ? Json(*text) : std::move(value);
  }

 private:
  Json& object_;
};

template <typename T>
Json encode(const std::optional<T>& value) {
  return value ? encode(*value) : Json(nullptr);
}

template <typename T>
Json encode(const std::vector<T>& values) {
  Json array = Json::array();
  for (const T& value : values) {
    array.push_back(encode(value));
  }
  return array;
}

template <typename Record>
requires std::is_class_v<Record> Json encode(const Record& record) {
  Json object = Json::object();
  Writer writer(object);
  fields(writer, record);
  return object;
}

Json encode(const TopToken& token) {
  return Json::array({token.text, encode(token.probability), token.id});
}

Json encode(const std::vector<NamedMetric>& metrics) {
  Json object = Json::object();
  for (const NamedMetric& metric : metrics) {
    object[metric.name] = encode(metric.summary);
  }
  return object;
}

Json encode(const std::vector<LaneTop>& lanes) {
  Json object = Json::object();
  for (const LaneTop& lane : lanes) {
    object[lane.lane] = encode(lane.tokens);
  }
  return object;
}

Json encode(const std::vector<Phase>& phases) {
  Json object = Json::object();
  for (const Phase& phase : phases) {
    object[phase.name] = encode(phase.seconds);
  }
  return object;
}

/// Names come from files and may hold any bytes: what is not UTF-8 becomes U+FFFD.
std::string compact(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

/// Lists and objects that fit on a line stand on one, so that a tensor, an interval or a gate can
/// be read and compared by lines.
void print(const Json& json, std::size_t indent, std::string& out) {
  constexpr std::size_t kWidth = 120;
  constexpr std::size_t kMostOnALine = 32;  // more values never fit: do not render them to find out
  if (!json.is_structured() || json.empty()) {
    out += compact(json);
    return;
  }
  if (json.size() <= kMostOnALine) {
    const std::string line = compact(json);
    if (line.size() + indent <= kWidth) {
      out += line;
      return;
    }
  }
  const bool is_object = json.is_object();
  char separator = is_object ? '{' : '[';
  for (const auto& [key, value] : json.items()) {
    out += separator;
    out += '\n';
    out.append(indent + 1, ' ');
    if (is_object) {
      out += compact(key);
      out += ": ";
    }
    print(value, indent + 1, out);
    separator = ',';
  }
  out += '\n';
  out.append(indent, ' ');
  out += is_object ? '}' : ']';
}

}  // namespace
}  // namespace report_json

std::string write_report_json(const Report& report) {
  using report_json::Json;
  Json object = Json::object();
  object["schema"] = kReportSchema;
  object["status"] = run_status_name(report.status);
  object["exit_code"] = exit_code(report.status);
  report_json::Writer writer(object);
  report_json::fields(writer, report);
  std::string text;
  report_json::print(object, 0, text);
  text += '\n';
  return text;
}

}  // namespace mg
