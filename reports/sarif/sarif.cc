#include "reports/sarif/sarif.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "reports/headline.h"
#include "reports/text.h"

namespace mg {
namespace {

using Json = nlohmann::ordered_json;

std::string_view level_of(Severity severity) {
  return severity_name(severity);  // "error", "warning", "note" are SARIF's words too
}

/// The file a subject begins with ("config.json: quantization_config"), or empty.
std::string file_of(std::string_view subject) {
  const std::string_view name = subject.substr(0, subject.find_first_of(":, "));
  constexpr std::string_view kEndings[] = {".json", ".safetensors", ".model", ".jinja", ".txt"};
  const bool file = std::any_of(std::begin(kEndings), std::end(kEndings),
                                [name](std::string_view end) { return name.ends_with(end); });
  return file ? std::string(name) : std::string();
}

/// A path as a relative URI (RFC 3986): everything but unreserved characters and / in percent form.
std::string uri_of(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    out += plain ? std::string(1, c)
                 : fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return out;
}

Json location_of(const Finding& finding) {
  Json location;
  const std::string file = file_of(finding.subject);
  if (!file.empty()) {
    location["physicalLocation"]["artifactLocation"] = {{"uri", uri_of(file)},
                                                        {"uriBaseId", "MERGED"}};
  }
  location["logicalLocations"] = Json::array({{{"name", valid_utf8(finding.subject)}}});
  return location;
}

Json result_of(const Finding& finding, std::size_t rule) {
  std::string text = finding.message;
  if (!finding.expected.empty() || !finding.actual.empty()) {
    text += fmt::format(" Expected {}, found {}.", finding.expected, finding.actual);
  }
  if (finding.fix) {
    text += fmt::format(" Fix: {}", finding.fix->what);
  }
  return {{"ruleId", valid_utf8(finding.rule)},
          {"ruleIndex", rule},
          {"level", level_of(finding.severity)},
          {"message", {{"text", valid_utf8(text)}}},
          {"locations", Json::array({location_of(finding)})},
          {"properties", {{"command", valid_utf8(finding.command)}}}};
}

Json rule_of(const Finding& finding) {
  Json rule{{"id", valid_utf8(finding.rule)},
            {"shortDescription", {{"text", valid_utf8(finding.message)}}}};
  Json tags = Json::array();
  for (const std::string& id : finding.catalogue) {
    tags.push_back(valid_utf8(id));
  }
  rule["properties"] = {{"tags", std::move(tags)}};
  return rule;
}

}  // namespace

std::string render_sarif(const ReportView& view) {
  const Report& report = view.report;
  Json rules = Json::array();
  Json results = Json::array();
  std::vector<std::string> known;
  for (const Finding& finding : report.findings) {
    const auto found = std::find(known.begin(), known.end(), finding.rule);
    const auto index = static_cast<std::size_t>(found - known.begin());
    if (found == known.end()) {
      known.push_back(finding.rule);
      rules.push_back(rule_of(finding));
    }
    results.push_back(result_of(finding, index));
  }
  const Headline head = headline(report);
  Json run;
  run["tool"]["driver"] = {{"name", "mergegauge"},
                           {"version", valid_utf8(report.tool.version)},
                           {"rules", std::move(rules)}};
  run["originalUriBaseIds"]["MERGED"]["description"]["text"] = "the merged checkpoint's folder";
  run["results"] = std::move(results);
  run["columnKind"] = "unicodeCodePoints";
  run["properties"] = {
      {"verdict", head.verdict}, {"counts", counts_text(report)}, {"digest", view.digest}};
  const Json log{{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
                 {"version", "2.1.0"},
                 {"runs", Json::array({std::move(run)})}};
  return log.dump(1) + "\n";
}

}  // namespace mg
