#include "reports/headline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/reports/sample_reports.h"

namespace mg {
namespace {

using testing::HasSubstr;

TEST(Headline, Pass) {
  const Headline head = headline(samples::passing());
  EXPECT_EQ(head.verdict, "PASS");
  EXPECT_EQ(head.title, "The merged checkpoint answers as base + adapter does.");
  EXPECT_EQ(head.reason, "All 6 blocking gates passed on 24 prompts, 3,072 tokens.");
  ASSERT_EQ(head.numbers.size(), 3U);
  EXPECT_EQ(head.numbers[0].value, "2.6e-6 nat");
  EXPECT_EQ(head.numbers[1].value, "4.26e-4 %");
  EXPECT_EQ(head.numbers[2].value, "210 of 210");
}

TEST(Headline, FailNamesWeightsBeforeFilesAndTheCulprit) {
  const Headline head = headline(samples::dropped_layer());
  EXPECT_EQ(head.verdict, "FAIL");
  EXPECT_EQ(head.title, "The merged checkpoint is not base + adapter.");
  EXPECT_EQ(head.reason,
            "The tensors equal the base: the adapter was not merged here (model.layers.12: 7 "
            "tensors of self_attn and mlp). Gate kl.mean: 0.0231 nat, limit 1.1e-4. The difference "
            "begins at language layer 12, attention. 1 more error finding, 5 more blocking gates "
            "failed.");
}

TEST(Headline, FailingNumbersComeFirst) {
  Report report = samples::passing();
  report.status = RunStatus::kFail;
  for (Verdict& verdict : report.verdicts) {
    if (verdict.gate == "flips.real") {
      verdict.status = GateStatus::kFail;
    }
  }
  EXPECT_EQ(headline(report).numbers[0].label, "first tokens that really changed");
}

TEST(Headline, FilesAlone) {
  Report report = samples::passing();
  report.status = RunStatus::kFail;
  report.findings = {samples::dropped_layer().findings[0]};
  EXPECT_EQ(headline(report).title, "The outputs are right, but the checkpoint's files are not.");
  EXPECT_EQ(headline(samples::lint_only()).title, "The checkpoint's files are not right.");
  EXPECT_EQ(headline(samples::lint_only()).numbers[0].label, "error");
  EXPECT_EQ(headline(samples::lint_only()).numbers[0].value, "1");
}

TEST(Headline, AnOverflowInServingArithmeticIsNotTheMergesFault) {
  Report report = samples::passing();
  report.status = RunStatus::kFail;
  report.findings = {{.rule = "compare.serving-overflow",
                      .catalogue = {"F31"},
                      .severity = Severity::kError,
                      .command = "compare",
                      .subject = "adapter, layer 3 mlp",
                      .message = "in fp16 arithmetic, base + adapter overflows",
                      .expected = {},
                      .actual = {},
                      .fix = std::nullopt}};
  EXPECT_EQ(headline(report).title,
            "The merge is right, but the model overflows in the arithmetic that serves it.");
}

TEST(Headline, UndecidedInvalidAndError) {
  EXPECT_EQ(headline(samples::too_few_prompts()).reason,
            "Gate kl.mean: 8 prompts cannot decide; 20 could.");
  EXPECT_EQ(headline(samples::adapter_does_nothing()).reason,
            "KL(adapter || base) does not exceed the floor: the adapter does nothing here.");
  const Headline error = headline(samples::input_error());
  EXPECT_EQ(error.verdict, "ERROR");
  EXPECT_THAT(error.reason, HasSubstr("The file ends before its last tensor (models/"));
}

TEST(Headline, NotChecked) {
  Report report = samples::passing();
  report.status = RunStatus::kInconclusive;
  report.not_checked = {"config.json: \"new_key\" is not known", "b", "c"};
  EXPECT_EQ(headline(report).reason,
            "Not checked: config.json: \"new_key\" is not known. 2 other things could not be "
            "checked either.");
}

TEST(Headline, NotFiniteIsShownNotHidden) {
  const Headline head = headline(samples::not_finite());
  EXPECT_EQ(head.numbers[0].value, "not finite in 3,072 rows");
  EXPECT_EQ(head.numbers[0].status, GateStatus::kFail);
}

TEST(Headline, AnEmptyReportHasNoNumbersToBoastWith) {
  const Headline head = headline(Report{});
  EXPECT_EQ(head.verdict, "INCONCLUSIVE");
  EXPECT_EQ(head.reason, "Nothing was measured that a verdict could rest on.");
}

TEST(GatesByImportance, BlockingFailuresFirstNotRunLast) {
  Report report;
  const auto add = [&](const char* name, GateStatus status, bool blocking) {
    Verdict verdict;
    verdict.gate = name;
    verdict.status = status;
    verdict.blocking = blocking;
    report.verdicts.push_back(verdict);
  };
  add("advisory-not-run", GateStatus::kNotRun, false);
  add("pass", GateStatus::kPass, true);
  add("advisory-fail", GateStatus::kFail, false);
  add("undecided", GateStatus::kInconclusive, true);
  add("fail", GateStatus::kFail, true);
  add("not-run", GateStatus::kNotRun, true);
  std::vector<std::string> names;
  for (const Verdict* verdict : gates_by_importance(report)) {
    names.push_back(verdict->gate);
  }
  EXPECT_THAT(names, testing::ElementsAre("fail", "undecided", "not-run", "advisory-fail", "pass",
                                          "advisory-not-run"));
}

}  // namespace
}  // namespace mg
