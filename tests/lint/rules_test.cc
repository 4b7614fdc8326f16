// Every row of the rules' table with a planted fault that it alone finds, and with a near miss that
// it leaves alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "harness/lint/rules.h"
#include "tests/lint/cases.h"

namespace mg::lint {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string test_name(const Case& one) {
  std::string name = one.rule + "_" + one.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

class RuleCase : public ::testing::TestWithParam<Case> {
 protected:
  Result lint(const World& world) const {
    Options options = world.options();
    options.server = GetParam().server;
    return run(options);
  }
};

TEST_P(RuleCase, TheFaultIsFoundByItsRuleAlone) {
  World world(GetParam().source);
  GetParam().plant(world);
  const Result result = lint(world);
  EXPECT_THAT(rules_above_note(result), ElementsAre(GetParam().rule)) << findings_text(result);
}

TEST_P(RuleCase, TheNearMissIsQuiet) {
  World world(GetParam().source);
  if (GetParam().good) {
    GetParam().good(world);
  }
  const Result result = lint(world);
  EXPECT_THAT(rules_above_note(result), IsEmpty()) << findings_text(result);
}

INSTANTIATE_TEST_SUITE_P(Lint, RuleCase, ::testing::ValuesIn(all_cases()),
                         [](const auto& case_info) { return test_name(case_info.param); });

TEST(Rules, EachHasABadCase) {
  std::set<std::string> covered;
  for (const Case& one : all_cases()) {
    covered.insert(one.rule);
  }
  for (const Rule* rule : rules()) {
    if (rule->severity == Severity::kNote) {
      continue;  // rules that only inform
    }
    EXPECT_TRUE(covered.contains(std::string(rule->id))) << rule->id << " has no case";
  }
}

TEST(Rules, RowsAreWhole) {
  std::set<std::string_view> ids;
  for (const Rule* rule : rules()) {
    EXPECT_TRUE(ids.insert(rule->id).second) << rule->id << " is there twice";
    EXPECT_NE(rule->check, nullptr) << rule->id;
    EXPECT_TRUE(rule->why.ends_with(".")) << rule->id;
    EXPECT_FALSE(rule->fix.empty()) << rule->id;
  }
}

}  // namespace

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const std::span<const Case> family : {file_cases(), tensor_cases(), config_cases(),
                                             tokenizer_cases(), adapter_cases(), gguf_cases()}) {
    all.insert(all.end(), family.begin(), family.end());
  }
  return all;
}

}  // namespace mg::lint
