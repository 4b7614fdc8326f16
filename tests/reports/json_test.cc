#include "reports/json/report_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>

#include "kernels/core/error.h"
#include "tests/reports/sample_reports.h"

namespace mg {
namespace {

using nlohmann::json;
using testing::StrEq;

std::string file_text(const std::string& path) {
  std::ifstream file(std::string(MG_TEST_DATA) + "/" + path);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string read_error(const std::string& text) {
  try {
    read_report_json(text, "r.json");
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no mg::Error was thrown";
  return "";
}

TEST(ReportJson, RoundTripGivesTheSameBytes) {
  for (const auto& [name, make] : samples::all()) {
    const Report report = make();
    const std::string text = write_report_json(report);
    EXPECT_TRUE(write_report_json(read_report_json(text, name)) == text) << name;
  }
}

TEST(ReportJson, RoundTripKeepsEveryKindOfField) {
  Report report = samples::dropped_layer();
  report.bench = samples::with_bench().bench;
  report.also = samples::served_otherwise().also;
  report.error = samples::input_error().error;
  report.not_checked = {"model.layers.3.mlp.gate_proj.weight: its quantisation is unknown"};
  const Report back = read_report_json(write_report_json(report), "r.json");
  EXPECT_EQ(back.status, RunStatus::kFail);
  EXPECT_EQ(back.error->hint, report.error->hint);
  EXPECT_EQ(back.not_checked, report.not_checked);
  EXPECT_EQ(back.findings[0].fix->automatic, true);
  EXPECT_EQ(back.findings[3].severity, Severity::kNote);
  EXPECT_EQ(back.inputs.adapter_info->modules.size(), 7U);
  EXPECT_EQ(back.audit->tensors[3].tensor_class, TensorClass::kTarget);
  const Comparison& c = back.comparisons[0];
  EXPECT_EQ(c.metrics[0].name, "kl");
  EXPECT_EQ(c.metrics[0].summary.mean, report.comparisons[0].metrics[0].summary.mean);
  EXPECT_EQ(c.metrics[0].summary.ci_method, IntervalMethod::kBca);
  EXPECT_EQ(c.kl_histogram.back().to, std::numeric_limits<double>::max());
  EXPECT_EQ(c.layers[25].place.module, "mlp");
  EXPECT_EQ(c.culprit->layer, 12);
  EXPECT_EQ(c.evidence[0].top[1].lane, "adapter");
  EXPECT_EQ(c.evidence[0].top[1].tokens[0].id, 318);
  EXPECT_EQ(back.bench->ratios[0].value, 1.2);
  EXPECT_EQ(back.timing->phases[2].name, "compare");
  EXPECT_EQ(back.provenance->config_differences[1].merged, std::nullopt);
  EXPECT_EQ(back.provenance->config_differences[2].merged,
            report.provenance->config_differences[2].merged);
}

TEST(ReportJson, TheReferenceExampleReadsAndKeepsItsNumbers) {
  const std::string text = file_text("reports/report.example.json");
  const Report report = read_report_json(text, "report.example.json");
  EXPECT_EQ(report.status, RunStatus::kFail);
  EXPECT_EQ(report.findings[0].rule, "config.leftover-quantization");
  EXPECT_EQ(find_metric(report.comparisons[0].metrics, "kl")->p95, 6.8e-6);
  EXPECT_EQ(report.comparisons[0].evidence[0].top[0].tokens[0].text, "the");

  // Everything the example says stands in what we write, under the same name ("..." marks what it
  // left out).
  const json written = json::parse(write_report_json(report));
  const std::function<void(const json&, const json&, const std::string&)> covers =
      [&](const json& example, const json& ours, const std::string& path) {
        if (example.is_object()) {
          for (const auto& [key, value] : example.items()) {
            if (key != "…") {
              ASSERT_TRUE(ours.contains(key)) << path << "." << key;
              covers(value, ours[key], path + "." + key);
            }
          }
        } else if (example.is_array() && path.find(".top.") == std::string::npos) {
          ASSERT_EQ(ours.size(), example.size()) << path;
          for (std::size_t i = 0; i < example.size(); ++i) {
            covers(example[i], ours[i], path + "[]");
          }
        } else if (!example.is_array()) {
          EXPECT_EQ(ours, example) << path;
        }
      };
  covers(json::parse(text), written, "");
}

TEST(ReportJson, NotANumberAndInfinityAreNull) {
  Report report = samples::passing();
  report.verdicts[0].value = std::numeric_limits<double>::quiet_NaN();
  report.verdicts[1].value = std::numeric_limits<double>::infinity();
  report.verdicts[1].ci95 = Interval{-std::numeric_limits<double>::infinity(), 1.0};
  const std::string text = write_report_json(report);
  const json object = json::parse(text);  // NaN as a bare word would not parse
  EXPECT_TRUE(object["verdicts"][0]["value"].is_null());
  EXPECT_TRUE(object["verdicts"][1]["value"].is_null());
  EXPECT_TRUE(object["verdicts"][1]["ci95"][0].is_null());
  EXPECT_EQ(read_report_json(text, "r").verdicts[1].ci95->lower,
            -std::numeric_limits<double>::infinity());
}

TEST(ReportJson, NamesThatAreNotUtf8BecomeReplacementCharacters) {
  Report report = samples::passing();
  report.inputs.merged = "bad\xff";
  EXPECT_EQ(json::parse(write_report_json(report))["inputs"]["merged"], "bad\xEF\xBF\xBD");
}

TEST(ReportJson, DoublesReadBackExactly) {
  Report report = samples::passing();
  for (const double value : {0.1, 1.0 / 3.0, 2.615728957189589e-06, 5e-324, 1.7976931348623157e308,
                             -0.0, 1e22, 123456789.0}) {
    report.verdicts[0].value = value;
    EXPECT_EQ(read_report_json(write_report_json(report), "r").verdicts[0].value, value);
  }
}

TEST(ReportJson, KeysOfLaterVersionsAreIgnored) {
  const std::string text = write_report_json(samples::passing());
  auto object = nlohmann::ordered_json::parse(text);
  object["later"] = {{"a", 1}};
  object["tool"]["later"] = 3;
  EXPECT_TRUE(write_report_json(read_report_json(object.dump(), "r")) == text);
}

TEST(ReportJsonErrors, Texts) {
  EXPECT_THAT(read_error("{\"a\": "), StrEq("error[report.json]: the report is not valid JSON\n"
                                            "  where:    r.json\n"
                                            "  expected: a report.json that mergegauge wrote   "
                                            "actual: an error at byte 7"));
  EXPECT_THAT(read_error("[]"),
              StrEq("error[report.schema]: the file is not a report this version reads\n"
                    "  where:    r.json\n"
                    "  expected: \"schema\": \"mergegauge.report/1\"   actual: no \"schema\"\n"
                    "  hint:     give the report.json that `mergegauge check` wrote"));
  EXPECT_THAT(read_error(R"({"schema":"mergegauge.report/2"})"),
              testing::HasSubstr("actual: \"schema\": \"mergegauge.report/2\""));

  json object = json::parse(write_report_json(samples::passing()));
  json broken = object;
  broken["verdicts"][1].erase("status");
  EXPECT_THAT(read_error(broken.dump()),
              StrEq("error[report.missing-key]: the report lacks a key that every report has\n"
                    "  where:    r.json: verdicts[1].status\n"
                    "  expected: \"status\"   actual: absent"));
  broken = object;
  broken["comparisons"][0]["metrics"]["kl"]["mean"] = "2e-6";
  EXPECT_THAT(read_error(broken.dump()),
              StrEq("error[report.wrong-type]: a value of the report has another type than the "
                    "schema's\n"
                    "  where:    r.json: comparisons[0].metrics.kl.mean\n"
                    "  expected: a number   actual: \"2e-6\""));
  broken = object;
  broken["exit_code"] = 1;
  EXPECT_THAT(read_error(broken.dump()), testing::HasSubstr("actual: \"pass with exit_code 1\""));
}

TEST(ReportJsonErrors, WrongTypesAnywhereAreErrorsNotCrashes) {
  // Every value of a report is replaced by each other type in turn.
  Report report = samples::dropped_layer({1, 1});
  report.audit->tensors.resize(3);
  Comparison& c = report.comparisons[0];
  c.metrics.resize(1);
  c.kl_histogram.resize(2);
  c.evidence.resize(1);
  c.slices.resize(1);
  c.slices[0].metrics.clear();
  c.positions.clear();
  c.confidence.clear();
  const json object = json::parse(write_report_json(report));
  const std::vector<json> intruders{nullptr, true, -1, 1.5, "x", json::array(), json::object()};
  const json leaves = object.flatten();
  std::set<std::string> tried;  // one of each kind: list indices and metric names do not matter
  int errors = 0;
  for (const auto& [pointer, value] : leaves.items()) {
    std::string kind = pointer;
    std::erase_if(kind, [](unsigned char letter) { return std::isdigit(letter) != 0; });
    if (const std::size_t metric = kind.find("metrics/"); metric != std::string::npos) {
      kind.erase(metric, kind.find('/', metric + 8) - metric);
    }
    if (!tried.insert(kind).second) {
      continue;
    }
    for (const json& intruder : intruders) {
      json broken = object;
      broken[json::json_pointer(pointer)] = intruder;
      try {
        read_report_json(broken.dump(), "r");
      } catch (const Error& error) {
        EXPECT_THAT(error.parts().code,
                    testing::AnyOf("report.wrong-type", "report.schema", "report.missing-key"));
        ++errors;
      }
    }
  }
  EXPECT_GT(tried.size(), 100U);
  EXPECT_GT(errors, 500);
}

}  // namespace
}  // namespace mg
