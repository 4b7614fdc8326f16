// Right merges are quiet: every golden triple, the demo; the three quantised ones carry the
// leftover key by design.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/lint/world.h"

namespace mg::lint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Result lint_triple(const fs::path& folder) {
  Options options;
  options.merged = folder / "merged";
  options.base = folder / "base";
  options.adapter = folder / "adapter";
  return run(options);
}

bool is_quantised(const std::string& name) {
  return name == "qwen2-nf4" || name == "qwen2-fp4" || name == "qwen2-int8";
}

TEST(LintGolden, OnlyTheQuantisedCarryTheLeftoverKey) {
  int seen = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(MG_TEST_DATA) / "golden")) {
    if (!fs::exists(entry.path() / "merged")) {
      continue;
    }
    ++seen;
    const std::string name = entry.path().filename();
    const Result result = lint_triple(entry.path());
    if (is_quantised(name)) {
      EXPECT_THAT(rules_above_note(result), ElementsAre("config.leftover-quantization"))
          << name << "\n"
          << findings_text(result);
    } else {
      EXPECT_THAT(rules_above_note(result), IsEmpty()) << name << "\n" << findings_text(result);
    }
  }
  EXPECT_EQ(seen, 18);
}

TEST(LintGolden, QuantisedBasesAreRecognisedAndNotCalledLeftovers) {
  for (const char* name : {"qwen2-nf4", "qwen2-fp4", "qwen2-int8"}) {
    Options options;
    options.merged = fs::path(MG_TEST_DATA) / "golden" / name / "base";
    const Result result = run(options);
    EXPECT_THAT(rules_above_note(result), IsEmpty()) << name << "\n" << findings_text(result);
    const bool named =
        std::any_of(result.findings.begin(), result.findings.end(), [](const LintFinding& found) {
          return found.finding.rule == "tensors.packed" &&
                 found.finding.severity == Severity::kNote;
        });
    EXPECT_TRUE(named) << name;
  }
}

TEST(LintGolden, TheDemoIsQuiet) {
  const Result result = lint_triple(fs::path(MG_TEST_DATA) / "demo");
  EXPECT_THAT(rules_above_note(result), IsEmpty()) << findings_text(result);
}

}  // namespace
}  // namespace mg::lint
