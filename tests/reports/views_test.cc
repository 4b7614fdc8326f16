// The formats for machines: each valid by its own rules, and all of them telling the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libxml/parser.h>
#include <libxml/xmlschemas.h>
#include <libxml/xpath.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "reports/csv/csv.h"
#include "reports/digest.h"
#include "reports/formats.h"
#include "reports/headline.h"
#include "reports/html/markup.h"
#include "reports/json/report_json.h"
#include "reports/markdown/markdown.h"
#include "tests/reports/sample_reports.h"

namespace mg {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string rendered(const Report& report, std::string_view name) {
  const auto formats = report_formats();
  const auto format = std::find_if(formats.begin(), formats.end(),
                                   [name](const ReportFormat& one) { return one.name == name; });
  return format->render({report, text_digest(write_report_json(report))});
}

using Document = std::unique_ptr<xmlDoc, decltype(&xmlFreeDoc)>;

Document parsed(const std::string& xml) {
  return {xmlReadMemory(xml.data(), static_cast<int>(xml.size()), "report.xml", nullptr,
                        XML_PARSE_NONET),
          &xmlFreeDoc};
}

/// What the xUnit plugin's schema says of a document: 0 is valid.
int violations(const std::string& xml) {
  const std::string path = std::string(MG_TEST_DATA) + "/reports/junit-10.xsd";
  const std::unique_ptr<xmlSchemaParserCtxt, decltype(&xmlSchemaFreeParserCtxt)> parser(
      xmlSchemaNewParserCtxt(path.c_str()), &xmlSchemaFreeParserCtxt);
  const std::unique_ptr<xmlSchema, decltype(&xmlSchemaFree)> schema(xmlSchemaParse(parser.get()),
                                                                    &xmlSchemaFree);
  const std::unique_ptr<xmlSchemaValidCtxt, decltype(&xmlSchemaFreeValidCtxt)> context(
      xmlSchemaNewValidCtxt(schema.get()), &xmlSchemaFreeValidCtxt);
  const Document document = parsed(xml);
  return document && schema ? xmlSchemaValidateDoc(context.get(), document.get()) : -1;
}

/// The value of an XPath expression that gives a number or a text.
std::string xpath(const std::string& xml, const std::string& expression) {
  const Document document = parsed(xml);
  const std::unique_ptr<xmlXPathContext, decltype(&xmlXPathFreeContext)> context(
      xmlXPathNewContext(document.get()), &xmlXPathFreeContext);
  const std::unique_ptr<xmlXPathObject, decltype(&xmlXPathFreeObject)> result(
      xmlXPathEvalExpression(reinterpret_cast<const xmlChar*>(expression.c_str()), context.get()),
      &xmlXPathFreeObject);
  xmlChar* text = xmlXPathCastToString(result.get());
  const std::string out = reinterpret_cast<const char*>(text);
  xmlFree(text);
  return out;
}

class EveryView : public ::testing::TestWithParam<samples::Sample> {};

TEST_P(EveryView, TellsTheSameVerdictCountsAndDigest) {
  const Report report = GetParam().make();
  const std::string verdict = headline(report).verdict;
  const std::string counts = counts_text(report);
  const std::string digest = text_digest(write_report_json(report));

  const std::string junit = rendered(report, "junit");
  const auto property = [&](const std::string& name) {
    return xpath(junit, "string(//property[@name='" + name + "']/@value)");
  };
  EXPECT_EQ(property("verdict"), verdict);
  EXPECT_EQ(property("counts"), counts);
  EXPECT_EQ(property("digest"), digest);

  const auto sarif = nlohmann::json::parse(rendered(report, "sarif"));
  const auto& properties = sarif["runs"][0]["properties"];
  EXPECT_EQ(properties["verdict"], verdict);
  EXPECT_EQ(properties["counts"], counts);
  EXPECT_EQ(properties["digest"], digest);

  const std::string markdown = rendered(report, "markdown");
  EXPECT_THAT(markdown, HasSubstr(" " + verdict + ": "));
  EXPECT_THAT(markdown, HasSubstr(counts));
  EXPECT_THAT(markdown, HasSubstr(digest));

  const std::string page = rendered(report, "html");
  EXPECT_THAT(page, HasSubstr("</span> " + verdict + "</span></p>"));
  EXPECT_THAT(page, HasSubstr(html::escape(counts)));
  EXPECT_THAT(page, HasSubstr(digest));
}

TEST_P(EveryView, IsTheSameFromTheJsonAsFromTheRun) {
  const Report report = GetParam().make();
  const Report again = read_report_json(write_report_json(report), "sample");
  for (const ReportFormat& format : report_formats()) {
    EXPECT_EQ(rendered(report, format.name), rendered(again, format.name)) << format.name;
  }
}

TEST_P(EveryView, JunitSatisfiesTheSchemaAndIsRedWhereTheExitCodeIs) {
  const Report report = GetParam().make();
  const std::string junit = rendered(report, "junit");
  EXPECT_EQ(violations(junit), 0) << junit;
  const auto number = [&](const std::string& expression) {
    return std::stol(xpath(junit, expression));
  };
  EXPECT_EQ(number("count(//failure)"), number("sum(//testsuite/@failures)"));
  EXPECT_EQ(number("count(//error)"), number("sum(//testsuite/@errors)"));
  EXPECT_EQ(number("count(//testcase)"), number("string(/testsuites/@tests)"));
  EXPECT_EQ(number("count(//failure) + count(//error)") > 0, exit_code(report.status) != 0);
  // Each gate is a case; what stands in a failure suffices to act on it.
  EXPECT_GE(number("count(//testcase)"), 1 + std::ssize(report.verdicts));
  for (const Verdict& verdict : report.verdicts) {
    if (verdict.blocking && verdict.status == GateStatus::kFail) {
      EXPECT_GE(number("count(//testcase[starts-with(@name, '" + verdict.gate +
                       "')]/failure[contains(., 'value: ') and contains(., 'repeat: ')])"),
                1)
          << verdict.gate;
    }
  }
}

TEST_P(EveryView, SarifNamesARuleForEachResult) {
  const Report report = GetParam().make();
  const auto run = nlohmann::json::parse(rendered(report, "sarif"))["runs"][0];
  EXPECT_EQ(run["results"].size(), report.findings.size());
  const auto& rules = run["tool"]["driver"]["rules"];
  for (const auto& result : run["results"]) {
    EXPECT_EQ(rules.at(result["ruleIndex"].get<std::size_t>())["id"], result["ruleId"]);
    EXPECT_FALSE(result["message"]["text"].get<std::string>().empty());
    const auto& places = result["locations"][0];
    if (places.contains("physicalLocation")) {
      const std::string uri = places["physicalLocation"]["artifactLocation"]["uri"];
      EXPECT_EQ(uri.find_first_of("<>\" \\"), std::string::npos) << uri;
    }
  }
}

TEST_P(EveryView, MarkdownIsOneScreenWithoutMarkupOfOthers) {
  const std::string markdown = rendered(GetParam().make(), "markdown");
  EXPECT_LE(std::count(markdown.begin(), markdown.end(), '\n'), 45);
  EXPECT_THAT(markdown, Not(HasSubstr("<")));
}

TEST_P(EveryView, CsvRowsHaveTheHeadersFields) {
  const std::string csv = rendered(GetParam().make(), "csv");
  std::vector<std::size_t> fields{1};
  bool quoted = false;
  for (const char c : csv) {
    quoted ^= c == '"';
    if (!quoted && c == ',') {
      ++fields.back();
    } else if (!quoted && c == '\n') {
      fields.push_back(1);
    }
  }
  fields.pop_back();
  EXPECT_FALSE(quoted);
  EXPECT_THAT(fields, ::testing::Each(14U));
}

INSTANTIATE_TEST_SUITE_P(Views, EveryView, ::testing::ValuesIn(samples::all()),
                         [](const auto& sample) {
                           std::string name = sample.param.name;
                           std::erase(name, '-');
                           return name;
                         });

TEST(Views, AdvisoryGatesAreSkippedAndUndecidedOnesAreRed) {
  Report report = samples::passing();
  EXPECT_EQ(
      xpath(rendered(report, "junit"), "count(//testcase[starts-with(@name,'kl.p99')]/skipped)"),
      "1");
  report.verdicts.front().status = GateStatus::kInconclusive;
  report.status = RunStatus::kInconclusive;
  EXPECT_EQ(xpath(rendered(report, "junit"),
                  "string(//testcase[starts-with(@name,'kl.mean')]"
                  "/failure/@type)"),
            "inconclusive");
}

TEST(Views, MarkdownTextIsShownAsItIs) {
  EXPECT_EQ(markdown_text("a|b *c* <script> @all `x`\n[l](u)"),
            "a\\|b \\*c\\* &lt;script&gt; &#64;all \\`x\\`\\\\n\\[l\\](u)");
}

TEST(Views, JunitHoldsTextThatXmlCannot) {
  Report report = samples::dropped_layer();
  for (Finding& finding : report.findings) {
    finding.message = finding.subject = std::string("\x01\x0b\xff\xef\xbf\xbf]]>&<'\"", 14);
  }
  EXPECT_EQ(violations(rendered(report, "junit")), 0);
}

TEST(Views, TokensAsCsv) {
  TokenRows table;
  table.pairs = {{"adapter", "merged"}};
  table.metrics = {"kl", "delta_nll"};
  table.rows = {{0, "=a,\"b", 3, 17, 5, 8, 9, {1.5e-7, -0.25}},
                {0, "last", 0, 1, -1, -1, -1, {std::nullopt, std::nullopt}}};
  EXPECT_EQ(render_token_csv(table),
            "reference,subject,prompt,position,token,next_token,first_reference,first_subject,kl,"
            "delta_nll\r\n"
            "\"adapter\",\"merged\",\"'=a,\"\"b\",3,17,5,8,9,1.5e-07,-0.25\r\n"
            "\"adapter\",\"merged\",\"last\",0,1,,,,,\r\n");
}

TEST(Views, CsvNamesAreNoFormulas) {
  Report report = samples::passing();
  report.comparisons.front().prompts_detail.front().id = "=HYPERLINK(\"http://x\")";
  EXPECT_THAT(rendered(report, "csv"), HasSubstr("\"'=HYPERLINK(\"\"http://x\"\")\""));
}

}  // namespace
}  // namespace mg
