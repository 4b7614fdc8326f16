// The published schema against what we write, and against the reference example it must accept.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include "reports/json/report_json.h"
#include "tests/reports/sample_reports.h"

namespace mg {
namespace {

using nlohmann::json;

json load(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return json::parse(file);
}

json published_schema() {
  return load(std::string(MG_TEST_DATA) + "/../reports/schema/report.v1.json");
}

/// The schema with every object closed: a key the schema does not list is a violation.  The
/// published one is open, so that readers of today accept reports of tomorrow; what we write must
/// all be documented.
void close_objects(json& node) {
  if (node.is_object()) {
    if (node.contains("properties") && !node.contains("additionalProperties")) {
      node["additionalProperties"] = false;
    }
    for (auto& [key, value] : node.items()) {
      close_objects(value);
    }
  } else if (node.is_array()) {
    for (json& value : node) {
      close_objects(value);
    }
  }
}

class SchemaValidator {
 public:
  explicit SchemaValidator(const json& schema) {
    valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
    parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(schema), schema_);
  }

  /// Empty when the document satisfies the schema, else the violations.
  std::string violations(const json& document) const {
    valijson::Validator validator;
    valijson::ValidationResults results;
    const valijson::adapters::NlohmannJsonAdapter target(document);
    if (validator.validate(schema_, target, &results)) {
      return "";
    }
    std::string text = "invalid:";
    for (const auto& error : results) {
      text += "\n";
      for (const std::string& part : error.context) {
        text += part;
      }
      text += ": " + error.description;
    }
    return text;
  }

 private:
  valijson::Schema schema_;
};

TEST(Schema, TheReferenceExampleSatisfiesIt) {
  const json example = load(std::string(MG_TEST_DATA) + "/reports/report.example.json");
  EXPECT_EQ(SchemaValidator(published_schema()).violations(example), "");
}

TEST(Schema, EverySampleSatisfiesItWithNoKeyUndocumented) {
  json closed = published_schema();
  close_objects(closed);
  const SchemaValidator validator(closed);
  for (const auto& [name, make] : samples::all()) {
    const Report report = make();
    EXPECT_EQ(validator.violations(json::parse(write_report_json(report))), "") << name;
  }
}

TEST(Schema, AnEmptyReportSatisfiesIt) {
  EXPECT_EQ(SchemaValidator(published_schema()).violations(json::parse(write_report_json({}))), "");
}

TEST(Schema, CatchesWhatItShould) {
  const SchemaValidator validator(published_schema());
  const json good = json::parse(write_report_json(samples::dropped_layer()));
  const std::vector<std::pair<std::string, json>> faults{
      {"/schema", "mergegauge.report/2"},
      {"/status", "passed"},
      {"/exit_code", 5},
      {"/tool/threads", "2"},
      {"/findings/0/severity", "fatal"},
      {"/findings/0/catalogue/0", "first"},
      {"/findings/0/fix", "delete"},
      {"/audit/tensors/3/class", "other"},
      {"/audit/tensors/3/unchanged_share", 1.5},
      {"/comparisons/0/metrics/kl/mean", "NaN"},
      {"/comparisons/0/metrics/kl/ci95", json::array({1.0})},
      {"/comparisons/0/metrics/kl/count", -1},
      {"/comparisons/0/ratios/mer", nullptr},
      {"/comparisons/0/evidence/0/top/base/0/1", 1.5},
      {"/comparisons/0/layers/0/layer", "0"},
      {"/floor/kl_mean", -1e-6},
      {"/verdicts/0/status", "passed"},
      {"/verdicts/0/blocking", nullptr},
      {"/verdicts", nullptr},
  };
  for (const auto& [pointer, value] : faults) {
    json broken = good;
    ASSERT_TRUE(broken.contains(json::json_pointer(pointer))) << pointer;
    broken[json::json_pointer(pointer)] = value;
    EXPECT_NE(validator.violations(broken), "") << pointer;
  }
  for (const char* key : {"schema", "status", "tool", "verdicts", "comparisons"}) {
    json broken = good;
    broken.erase(key);
    EXPECT_NE(validator.violations(broken), "") << key;
  }
}

TEST(Schema, ClosingItCatchesAnUndocumentedKey) {
  json closed = published_schema();
  close_objects(closed);
  json report = json::parse(write_report_json(samples::passing()));
  report["comparisons"][0]["flips"]["extra"] = 1;
  EXPECT_NE(SchemaValidator(closed).violations(report), "");
}

}  // namespace
}  // namespace mg
