// The page as text: complete, safe, self-contained and small.  How it looks and works in a browser:
// tests/reports/browser.
#include "reports/html/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <regex>
#include <string>
#include <vector>

#include "reports/digest.h"
#include "reports/headline.h"
#include "reports/html/markup.h"
#include "reports/json/report_json.h"
#include "tests/reports/sample_reports.h"

namespace mg {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string page_of(const Report& report) {
  return render_html({report, text_digest(write_report_json(report))});
}

std::int64_t count(const std::string& page, const std::string& text) {
  std::int64_t found = 0;
  for (std::size_t at = page.find(text); at != std::string::npos; at = page.find(text, at + 1)) {
    ++found;
  }
  return found;
}

/// The page without the text of its style and script, where < and > are operators.
std::string without_assets(const std::string& page) {
  std::string out = page;
  for (const char* tag : {"style", "script"}) {
    const std::size_t begin = out.find(std::string("<") + tag + ">") + std::strlen(tag) + 2;
    out.erase(begin, out.find(std::string("</") + tag + ">") - begin);
  }
  return out;
}

/// The names of the elements that are opened and not closed, or closed and not opened; those of a
/// table's rows and cells close themselves.
std::vector<std::string> unbalanced(const std::string& page) {
  static const std::regex kTag("<(/?)([a-z0-9]+)([^>]*)>");
  const std::string text = without_assets(page);
  std::vector<std::string> open;
  std::vector<std::string> wrong;
  for (std::sregex_iterator it(text.begin(), text.end(), kTag), end; it != end; ++it) {
    const std::string name = (*it)[2];
    const std::string rest = (*it)[3];
    if (name == "meta" || name == "link" || name == "tr" || name == "td" || name == "th" ||
        rest.ends_with("/")) {
      continue;
    }
    if ((*it)[1].length() == 0) {
      open.push_back(name);
    } else if (!open.empty() && open.back() == name) {
      open.pop_back();
    } else {
      wrong.push_back("/" + name);
    }
  }
  wrong.insert(wrong.end(), open.begin(), open.end());
  return wrong;
}

class EverySample : public ::testing::TestWithParam<samples::Sample> {};

TEST_P(EverySample, IsAWholePageWithTheVerdictAndTheDigest) {
  const Report report = GetParam().make();
  const std::string page = page_of(report);
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
  EXPECT_THAT(unbalanced(page), ::testing::IsEmpty());
  EXPECT_THAT(page, HasSubstr("</span> " + headline(report).verdict + "</span></p>"));
  EXPECT_THAT(page, HasSubstr(html::escape(headline(report).reason)));
  EXPECT_THAT(page, HasSubstr(html::escape(counts_text(report))));
  EXPECT_THAT(page, HasSubstr(text_digest(write_report_json(report))));
  EXPECT_EQ(count(page, "<tr role=row class"), std::ssize(report.verdicts));
  EXPECT_EQ(count(page, "<li class=\"finding "), std::ssize(report.findings));
}

TEST_P(EverySample, AsksForNothingFromOutside) {
  const std::string page = without_assets(page_of(GetParam().make()));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  static const std::regex kTag("<[a-z][^>]*>");
  std::string tags;  // without the text between them, which may hold anything
  for (std::sregex_iterator it(page.begin(), page.end(), kTag), end; it != end; ++it) {
    tags += it->str();
  }
  for (const char* forbidden : {" src=", "url(", "@import", "<iframe", "<img", "<object",
                                " style=", " onclick=", "javascript:"}) {
    EXPECT_EQ(count(tags, forbidden), 0) << forbidden;
  }
  static const std::regex kLink("href=\"([^\"]*)\"");
  for (std::sregex_iterator it(page.begin(), page.end(), kLink), end; it != end; ++it) {
    const std::string target = (*it)[1];
    EXPECT_TRUE(target.starts_with("#") || target == "data:,") << target;
  }
}

TEST_P(EverySample, NumbersAndPicturesAreNamed) {
  const std::string page = page_of(GetParam().make());
  EXPECT_EQ(count(page, "<svg "),
            count(page, "role=img aria-label=") + count(page, "<svg class=p"));
  EXPECT_THAT(page, Not(HasSubstr(">nan<")));
  EXPECT_THAT(page, Not(HasSubstr(">inf<")));
}

INSTANTIATE_TEST_SUITE_P(Html, EverySample, ::testing::ValuesIn(samples::all()),
                         [](const auto& sample) {
                           std::string name = sample.param.name;
                           std::erase(name, '-');
                           return name;
                         });

TEST(Html, ThePolicyAllowsExactlyTheStyleAndScriptInThePage) {
  const std::string page = page_of(samples::passing());
  for (const std::string tag : {"style", "script"}) {
    const std::size_t begin = page.find("<" + tag + ">") + tag.size() + 2;
    const std::string text = page.substr(begin, page.find("</" + tag + ">") - begin);
    EXPECT_THAT(page, HasSubstr(tag + "-src '" + policy_digest(text) + "'"));
  }
}

TEST(Html, PolicyDigestsAreThoseOfTheStandard) {
  // CSP level 3, section 8: the digest of alert('Hello, world.');
  EXPECT_EQ(policy_digest("alert('Hello, world.');"),
            "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
  EXPECT_EQ(text_digest("abc"),  // FIPS 180-2, appendix B.1
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Html, NamesThatAreTagsStandAsText) {
  const std::string evil = "</script><script>alert(1)</script><img src=x onerror='a'>\"";
  Report report = samples::dropped_layer();
  report.inputs.base = report.inputs.command = evil;
  report.tool.backend = report.tool.machine = evil;
  report.not_checked = {evil};
  for (Finding& finding : report.findings) {
    finding.rule = finding.subject = finding.message = finding.expected = finding.actual = evil;
    finding.catalogue = {evil};
    finding.command = evil;
    finding.fix = Fix{true, evil};
  }
  for (Verdict& verdict : report.verdicts) {
    verdict.gate = verdict.subject = verdict.basis = verdict.reason = verdict.unit = evil;
  }
  for (TensorAudit& tensor : report.audit->tensors) {
    tensor.name = "model." + evil + ".3." + evil + ".weight";
    tensor.recipe = tensor.note = evil;
  }
  report.audit->recipe.name = evil;
  report.audit->recipe.exceptions = {{evil, evil}};
  Comparison& comparison = report.comparisons.front();
  for (PromptDetail& prompt : comparison.prompts_detail) {
    prompt.id = evil;
  }
  for (LayerDrift& layer : comparison.layers) {
    layer.place.stack = layer.place.module = evil;
  }
  for (Slice& slice : comparison.slices) {
    slice.name = evil;
  }
  for (Evidence& card : comparison.evidence) {
    card.prompt = card.why = card.context = card.target = evil;
    card.top.front().lane = evil;
    card.top.front().tokens.front().text = evil;
  }
  for (NamedMetric& metric : comparison.metrics) {
    metric.name = "kl" == metric.name ? metric.name : evil;
  }
  report.provenance->config_differences = {{evil, evil, evil, evil, evil}};
  for (SuiteInfo& suite : report.inputs.suites) {
    suite.name = suite.digest = evil;
  }
  const std::string page = page_of(report);
  EXPECT_EQ(count(page, "<script>"), 1);
  EXPECT_EQ(count(page, "</script>"), 1);
  EXPECT_EQ(count(page, "<img"), 0);
  EXPECT_THAT(unbalanced(page), ::testing::IsEmpty());
  EXPECT_THAT(page, HasSubstr(html::escape(evil)));
}

TEST(Html, ACulpritIsNamedInTheDrawingAndTheTable) {
  const std::string page = page_of(samples::dropped_layer());
  EXPECT_THAT(page, HasSubstr("begins here: 12 attention"));
  EXPECT_THAT(page, HasSubstr("<strong>begins here</strong>"));
  EXPECT_THAT(page, HasSubstr("class=cross"));
  EXPECT_THAT(page_of(samples::passing()), Not(HasSubstr("begins here")));
}

TEST(Html, AnUnusualReportStillGivesAPage) {
  Report report = samples::passing();
  Comparison& comparison = report.comparisons.front();
  comparison.kl_histogram = {{0.0, 1e-12, 10}};
  comparison.prompts_detail.resize(1);
  comparison.prompts_detail.front().kl_mean = 0.0;
  comparison.layers.resize(1);
  comparison.layers.front().free_rel.reset();
  comparison.positions.front().metrics.clear();
  report.audit->tensors.resize(3);
  report.verdicts.front().value = 1e300;
  report.verdicts.front().limit = 0.0;
  report.verdicts.back().value = -5.0;
  EXPECT_THAT(unbalanced(page_of(report)), ::testing::IsEmpty());
  EXPECT_THAT(unbalanced(page_of(Report{})), ::testing::IsEmpty());
}

TEST(Html, SizesStayWithinReach) {
  EXPECT_LT(page_of(samples::dropped_layer({.layers = 32, .prompts = 2000})).size(), 3'000'000U);
  // 60 tensors a layer, all of them adapted and wrong: the largest a page gets.
  Report report = samples::dropped_layer({.layers = 32, .prompts = 500});
  const TensorAudit wrong =
      *std::find_if(report.audit->tensors.begin(), report.audit->tensors.end(),
                    [](const TensorAudit& tensor) { return tensor.verdict == GateStatus::kFail; });
  report.audit->tensors.clear();
  for (int layer = 0; layer < 32; ++layer) {
    for (int module = 0; module < 60; ++module) {
      TensorAudit tensor = wrong;
      tensor.name = "model.layers." + std::to_string(layer) + ".block.module_" +
                    std::to_string(module) + "_proj.weight";
      report.audit->tensors.push_back(tensor);
    }
  }
  EXPECT_LT(page_of(report).size(), 1'000'000U);
}

}  // namespace
}  // namespace mg
