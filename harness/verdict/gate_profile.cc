#include "harness/verdict/gate_profile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/metrics/metric_table.h"
#include "harness/verdict/builtin_profiles.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

using Json = nlohmann::json;

[[noreturn]] void fail(const char* code, std::string what, std::string_view where,
                       std::string expected = {}, std::string actual = {}) {
  throw Error({code, std::move(what), std::string(where), std::move(expected), std::move(actual),
               "configs/gates holds profiles to copy from"});
}

// nlohmann keeps the last of two equal keys; a limit that is silently overruled is worse than an
// error.
Json parse_json(std::string_view text, std::string_view where) {
  std::vector<std::set<std::string>> open;
  const auto check = [&](int /*depth*/, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) {
      open.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      open.pop_back();
    } else if (event == Json::parse_event_t::key &&
               !open.back().insert(value.get<std::string>()).second) {
      fail("gates.duplicate", fmt::format("key \"{}\" is given twice", value.get<std::string>()),
           where);
    }
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::parse_error& error) {
    fail("gates.syntax", "the gate profile is not valid JSON", where, {},
         fmt::format("byte {}", error.byte));
  }
}

// One JSON object read key by key; what is left unread at the end is an error.
class Reader {
 public:
  Reader(const Json& json, std::string_view where, std::string path)
      : json_(json), where_(where), path_(std::move(path)) {
    if (!json.is_object()) {
      fail("gates.wrong-type", fmt::format("{} is not an object", path_), where_, "an object",
           json.type_name());
    }
  }

  bool has(const char* key) const { return json_.contains(key); }

  const Json& raw(const char* key) {
    known_.insert(key);
    if (!json_.contains(key)) {
      fail("gates.missing-key", fmt::format("{} has no \"{}\"", path_, key), where_);
    }
    return json_.at(key);
  }

  std::string text(const char* key) {
    const Json& value = raw(key);
    if (!value.is_string()) {
      wrong_type(key, "a string", value);
    }
    return value.get<std::string>();
  }

  double number(const char* key) {
    const Json& value = raw(key);
    if (!value.is_number()) {
      wrong_type(key, "a number", value);
    }
    return value.get<double>();
  }

  double not_negative(const char* key) {
    const double value = number(key);
    if (!(value >= 0.0)) {
      fail("gates.bad-limit", fmt::format("{}.{} is negative", path_, key), where_, "0 or more",
           fmt::format("{}", value));
    }
    return value;
  }

  bool flag(const char* key, bool otherwise) {
    known_.insert(key);
    if (!has(key)) {
      return otherwise;
    }
    const Json& value = raw(key);
    if (!value.is_boolean()) {
      wrong_type(key, "true or false", value);
    }
    return value.get<bool>();
  }

  Reader child(const char* key) {
    return Reader(raw(key), where_, fmt::format("{}.{}", path_, key));
  }

  void optional(const char* key) { known_.insert(key); }

  /// The value that goes with a name; an unknown name lists those known.
  template <typename Value, std::size_t kCount>
  Value choice(const char* key,
               const std::array<std::pair<std::string_view, Value>, kCount>& choices) {
    const std::string name = text(key);
    std::vector<std::string_view> names;
    for (const auto& [choice_name, value] : choices) {
      if (choice_name == name) {
        return value;
      }
      names.push_back(choice_name);
    }
    fail("gates.unknown-name", fmt::format("{}.{} is not known", path_, key), where_,
         fmt::format("{}", fmt::join(names, ", ")), name);
  }

  void finish() const {
    for (const auto& [key, value] : json_.items()) {
      if (!known_.contains(key)) {
        fail("gates.unknown-key", fmt::format("{} has an unknown key \"{}\"", path_, key), where_,
             fmt::format("{}", fmt::join(known_, ", ")));
      }
    }
  }

  const std::string& path() const { return path_; }
  std::string_view where() const { return where_; }

 private:
  [[noreturn]] void wrong_type(const char* key, const char* expected, const Json& value) const {
    fail("gates.wrong-type", fmt::format("{}.{} has the wrong type", path_, key), where_, expected,
         value.dump());
  }

  const Json& json_;
  std::string_view where_;
  std::string path_;
  std::set<std::string> known_;
};

constexpr std::array<std::pair<std::string_view, GateRule>, 4> kRules{{
    {"at-most", GateRule::kAtMost},
    {"equivalent", GateRule::kEquivalent},
    {"between", GateRule::kBetween},
    {"near-rounding", GateRule::kNearRounding},
}};
constexpr std::array<std::pair<std::string_view, GateComparison>, 3> kComparisons{{
    {"total", GateComparison::kTotal},
    {"tool", GateComparison::kTool},
    {"other-base", GateComparison::kOtherBase},
}};
constexpr std::array<std::pair<std::string_view, GateStatistic>, 3> kStatistics{{
    {"mean", GateStatistic::kMean},
    {"p99", GateStatistic::kP99},
    {"value", GateStatistic::kValue},
}};
constexpr std::array<std::string_view, 4> kRatios{"mer", "slope", "r2", "perplexity_ratio"};

/// [{"bits": 7.5, "value": 0.005, "basis": "..."}, ...], most bits first.
std::vector<BitsLimit> read_bits(const Json& json, const Reader& limit) {
  const std::string path = limit.path() + ".by_bits";
  if (!json.is_array() || json.empty()) {
    fail("gates.wrong-type", path + " is not a list of limits", limit.where(),
         R"([{"bits": 7.5, "value": 0.005, "basis": "..."}])", json.type_name());
  }
  std::vector<BitsLimit> limits;
  for (std::size_t i = 0; i < json.size(); ++i) {
    Reader reader(json[i], limit.where(), fmt::format("{}[{}]", path, i));
    limits.push_back({.bits = reader.not_negative("bits"),
                      .value = reader.not_negative("value"),
                      .basis = reader.text("basis")});
    reader.finish();
    if (i > 0 && !(limits[i].bits < limits[i - 1].bits)) {
      fail("gates.bad-limit", path + " does not go from many bits to few", limit.where(),
           fmt::format("fewer than {} bits", limits[i - 1].bits),
           fmt::format("{}", limits[i].bits));
    }
  }
  return limits;
}

GateLimit read_limit(Reader reader) {
  GateLimit limit;
  reader.optional("value");
  reader.optional("times_floor");
  reader.optional("by_bits");
  if (reader.has("by_bits")) {
    limit.by_bits = read_bits(reader.raw("by_bits"), reader);
  }
  if (reader.has("value")) {
    limit.value = reader.not_negative("value");
  }
  if (reader.has("times_floor")) {
    limit.times_floor = reader.not_negative("times_floor");
  }
  reader.finish();
  if (!limit.by_bits.empty() && limit.value) {
    fail("gates.bad-limit", reader.path() + " has a limit for all bits and others by bits",
         reader.where(), "\"value\" or \"by_bits\"");
  }
  if (!limit.value && !limit.times_floor && limit.by_bits.empty()) {
    fail("gates.bad-limit", reader.path() + " sets no limit", reader.where(),
         "\"value\", \"times_floor\" or both");
  }
  return limit;
}

void check_metric(const Reader& reader, const GateSpec& gate) {
  std::vector<std::string_view> known;
  if (gate.statistic == GateStatistic::kValue) {
    known.assign(kRatios.begin(), kRatios.end());
  } else {
    for (const MetricDef& metric : metric_table()) {
      known.push_back(metric.name);
    }
  }
  if (std::find(known.begin(), known.end(), gate.metric) == known.end()) {
    fail("gates.unknown-name", reader.path() + ".metric is not known with this statistic",
         reader.where(), fmt::format("{}", fmt::join(known, ", ")), gate.metric);
  }
  // Only these are measured as a floor; a multiple of another metric's floor would be a multiple of
  // nothing.
  const bool uses_floor = gate.limit.times_floor || (gate.warn && gate.warn->times_floor);
  if (uses_floor && gate.metric != "kl") {
    fail("gates.bad-limit", reader.path() + " refers to a floor that is not measured",
         reader.where(), "times_floor with the metric kl", gate.metric);
  }
  if (gate.rule == GateRule::kNearRounding && gate.statistic != GateStatistic::kValue) {
    fail("gates.bad-limit", reader.path() + ": near-rounding compares ratios", reader.where(),
         "\"statistic\": \"value\"");
  }
  if (gate.excused_by_rounding && gate.metric != "mer") {
    fail("gates.bad-limit", reader.path() + ": only the merge error ratio is excused by rounding",
         reader.where(), "\"metric\": \"mer\"", gate.metric);
  }
}

GateSpec read_gate(const Json& json, std::string_view where, std::size_t index) {
  Reader reader(json, where, fmt::format("gates[{}]", index));
  GateSpec gate;
  gate.gate = reader.text("gate");
  gate.comparison = reader.choice("comparison", kComparisons);
  gate.metric = reader.text("metric");
  gate.statistic = reader.choice("statistic", kStatistics);
  gate.rule = reader.choice("rule", kRules);
  if (gate.rule == GateRule::kBetween) {
    Reader range = reader.child("limit");
    gate.lower = range.number("lower");
    gate.upper = range.number("upper");
    range.finish();
    if (!(gate.lower < gate.upper)) {
      fail("gates.bad-limit", range.path() + " is empty", where, "lower below upper",
           fmt::format("{} .. {}", gate.lower, gate.upper));
    }
  } else {
    gate.limit = read_limit(reader.child("limit"));
  }
  reader.optional("warn");
  if (reader.has("warn")) {
    gate.warn = read_limit(reader.child("warn"));
  }
  gate.excused_by_rounding = reader.flag("excused_by_rounding", false);
  gate.blocking = reader.flag("blocking", true);
  gate.slices = reader.flag("slices", false);
  gate.basis = reader.text("basis");
  reader.finish();
  check_metric(reader, gate);
  return gate;
}

WeightLimits read_weights(Reader reader) {
  WeightLimits limits;
  limits.slope_within = reader.not_negative("slope_within");
  limits.residual_at_most = reader.not_negative("residual_at_most");
  limits.basis = reader.text("basis");
  reader.finish();
  return limits;
}

}  // namespace

GateProfile parse_gate_profile(std::string_view text, std::string_view where) {
  const Json json = parse_json(text, where);
  Reader reader(json, where, "the profile");
  GateProfile profile;
  profile.name = reader.text("name");
  profile.purpose = reader.text("for");
  profile.fewest_prompts = static_cast<std::int64_t>(reader.not_negative("fewest_prompts"));
  profile.weights = read_weights(reader.child("weights"));
  const Json& gates = reader.raw("gates");
  if (!gates.is_array() || gates.empty()) {
    fail("gates.wrong-type", "the profile.gates is not a list of gates", where,
         "a list with a gate", gates.type_name());
  }
  reader.finish();
  std::set<std::string> names;
  for (std::size_t i = 0; i < gates.size(); ++i) {
    profile.gates.push_back(read_gate(gates[i], where, i));
    if (!names.insert(profile.gates.back().gate).second) {
      fail("gates.duplicate", fmt::format("gate \"{}\" is given twice", profile.gates.back().gate),
           where);
    }
  }
  return profile;
}

GateProfile at_bits(GateProfile profile, double bits) {
  std::erase_if(profile.gates, [bits](GateSpec& gate) {
    std::vector<BitsLimit>& limits = gate.limit.by_bits;
    if (limits.empty()) {
      return false;
    }
    const auto found = std::find_if(limits.begin(), limits.end(),
                                    [bits](const BitsLimit& one) { return one.bits <= bits; });
    if (found == limits.end()) {
      return true;
    }
    gate.limit.value = found->value;
    gate.basis = fmt::format("{:.2g} bits a weight: {}; {}", bits, found->basis, gate.basis);
    limits.clear();
    return false;
  });
  return profile;
}

std::vector<std::string_view> builtin_gate_profiles() {
  std::vector<std::string_view> names;
  for (const BuiltinProfile& profile : builtin_profile_texts()) {
    names.push_back(profile.name);
  }
  return names;
}

GateProfile load_gate_profile(const std::string& name_or_file) {
  for (const BuiltinProfile& profile : builtin_profile_texts()) {
    if (profile.name == name_or_file) {
      return parse_gate_profile(profile.json, fmt::format("built-in profile {}", profile.name));
    }
  }
  std::ifstream file(name_or_file, std::ios::binary);
  if (!file) {
    throw Error({"gates.not-found",
                 "no gate profile of this name, and no file that can be read",
                 name_or_file,
                 fmt::format("{}, or a JSON file", fmt::join(builtin_gate_profiles(), ", ")),
                 {},
                 "check the spelling and the path"});
  }
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return parse_gate_profile(text, name_or_file);
}

std::string_view default_gate_profile(DType merged_dtype, bool quantised_base) {
  if (quantised_base) {
    return "qlora";
  }
  return merged_dtype == DType::kBF16 ? "bf16" : "strict";
}

}  // namespace mg
