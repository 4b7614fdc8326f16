#include "reports/terminal/terminal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>
#include <string>

#include "reports/text.h"
#include "tests/reports/sample_reports.h"

namespace mg {
namespace {

const std::vector<std::string> kFiles{"mergegauge-report/report.html"};

std::string expected(const std::string& name) {
  const std::string path = std::string(MG_TEST_DATA) + "/reports/expected/" + name;
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string without_colours(const std::string& text) {
  return std::regex_replace(text, std::regex("\x1b\\[[0-9;]*m"), "");
}

// The whole screen of every sample, as a person reads it.  After an intended change, render_samples
// writes them anew; read them before committing.
TEST(Terminal, WholeScreens) {
  for (const auto& [name, make] : samples::all()) {
    const Report report = make();
    EXPECT_EQ(render_terminal(report, {.colour = false, .width = 100}, kFiles),
              expected(name + ".txt"))
        << name;
  }
}

TEST(Terminal, EveryScreenFitsOnOneScreenAndInItsWidth) {
  for (const auto& [name, make] : samples::all()) {
    const Report report = make();
    for (const int width : {40, 60, 80, 100, 132}) {
      std::istringstream lines(render_terminal(report, {.colour = false, .width = width}, kFiles));
      int count = 0;
      for (std::string line; std::getline(lines, line); ++count) {
        EXPECT_LE(display_width(line), static_cast<std::size_t>(width)) << name << ": " << line;
        EXPECT_FALSE(line.ends_with(' ')) << name << ": " << line;
      }
      if (width >= 80) {
        EXPECT_LE(count, 50) << name;
      }
    }
  }
}

TEST(Terminal, ColoursChangeNothingElse) {
  for (const auto& [name, make] : samples::all()) {
    const Report report = make();
    const std::string plain = render_terminal(report, {.colour = false, .width = 90}, kFiles);
    const std::string coloured = render_terminal(report, {.colour = true, .width = 90}, kFiles);
    EXPECT_NE(plain, coloured) << name;
    // Padding may stand inside a coloured part, where it is not cut at the end of the line.
    EXPECT_EQ(std::regex_replace(without_colours(coloured), std::regex(" +\n"), "\n"), plain)
        << name;
  }
}

TEST(Terminal, HostileNamesReachTheTerminalAsText) {
  Report report = samples::hostile();
  report.status = RunStatus::kFail;
  report.findings[0].severity = Severity::kError;
  report.findings[0].subject =
      "\x1b]0;owned\x07\xC2\x9B"
      "31m";
  const std::string text = render_terminal(report, {.colour = false, .width = 100}, {"\x1b[2J"});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\x07'), std::string::npos);
  EXPECT_THAT(text, testing::HasSubstr("\\x1b]0;owned\\x07\\x9b31m"));
}

TEST(Terminal, ManyGatesAndFindingsAreCounted) {
  Report report = samples::dropped_layer();
  for (int i = 0; i < 30; ++i) {
    Verdict verdict;
    verdict.gate = "kl.mean[slice-" + std::to_string(i) + "]";
    verdict.status = GateStatus::kPass;
    report.verdicts.push_back(verdict);
    report.findings.push_back(report.findings[0]);
  }
  const std::string text = render_terminal(report, {.colour = false, .width = 100});
  EXPECT_THAT(text, testing::HasSubstr("and 26 more: 26 passed\n"));
  EXPECT_THAT(text, testing::HasSubstr("27 more errors or warnings, 1 note in the report\n"));
}

TEST(Terminal, AnEmptyReportStillSaysItsVerdict) {
  EXPECT_EQ(render_terminal({}, {.colour = false, .width = 80}),
            "INCONCLUSIVE  This run could not decide.\n"
            "\n"
            "  Nothing was measured that a verdict could rest on.\n");
}

}  // namespace
}  // namespace mg
