#include "harness/verdict/gate_rules.h"

#include <gtest/gtest.h>

namespace mg {
namespace {

GateValue value_of(double value, double half_width, std::int64_t prompts = 30) {
  GateValue out;
  out.value = value;
  out.ci95 = Interval{value - 1.2 * half_width, value + 1.2 * half_width};
  out.ci90 = Interval{value - half_width, value + half_width};
  out.se = half_width / 1.7;
  out.method = IntervalMethod::kBca;
  out.prompts = prompts;
  out.rows = prompts * 100;
  return out;
}

Verdict at_most(const GateValue& value, double limit) {
  Verdict verdict;
  apply_at_most(value, limit, 20, verdict);
  return verdict;
}

Verdict between(const GateValue& value, double lower, double upper) {
  Verdict verdict;
  apply_between(value, lower, upper, 20, verdict);
  return verdict;
}

TEST(ResolveLimit, TakesTheLargerPart) {
  EXPECT_EQ(resolve_limit({1e-4, 10.0}, 1e-6)->value, 1e-4);
  EXPECT_EQ(resolve_limit({1e-4, 10.0}, 1e-3)->value, 1e-2);
  EXPECT_EQ(resolve_limit({1e-4, 10.0}, 1e-3)->text, "max(10 x floor, 0.0001)");
  EXPECT_EQ(resolve_limit({1e-4, 10.0}, std::nullopt)->value, 1e-4);
  EXPECT_EQ(resolve_limit({1e-4, 10.0}, std::nullopt)->text,
            "max(10 x floor, 0.0001) (no floor was measured)");
  EXPECT_EQ(resolve_limit({std::nullopt, 10.0}, 2e-5)->text, "10 x floor");
  EXPECT_FALSE(resolve_limit({std::nullopt, 10.0}, std::nullopt).has_value());
  EXPECT_EQ(resolve_limit({1e-3, std::nullopt}, 1.0)->value, 1e-3);
}

TEST(AtMost, PassesFailsOrCannotTell) {
  const Verdict pass = at_most(value_of(1.0, 0.5), 2.0);
  EXPECT_EQ(pass.status, GateStatus::kPass);
  EXPECT_EQ(pass.reason, "1 with its interval lies within at most 2");
  EXPECT_EQ(pass.value, 1.0);
  EXPECT_EQ(pass.limit, 2.0);
  EXPECT_EQ(pass.smallest_margin, 1.5);
  EXPECT_EQ(pass.needs_prompts, std::nullopt);
  EXPECT_GT(*pass.power, 0.99);

  const Verdict fail = at_most(value_of(3.0, 0.5), 2.0);
  EXPECT_EQ(fail.status, GateStatus::kFail);
  EXPECT_EQ(fail.reason, "3 with its interval lies outside at most 2");

  const Verdict undecided = at_most(value_of(1.8, 0.5), 2.0);
  EXPECT_EQ(undecided.status, GateStatus::kInconclusive);
  // sigma = 0.5/1.7 sqrt 30; 6.1826 (sigma / 0.2)^2 = 401.1
  EXPECT_EQ(undecided.needs_prompts, 402);
  EXPECT_EQ(undecided.reason,
            "the interval of 1.8 reaches across at most 2; about 402 prompts would decide it; this "
            "run has 30");
  EXPECT_EQ(undecided.smallest_margin, 2.3);
}

TEST(AtMost, OnTheLimitNoSampleHelps) {
  const Verdict verdict = at_most(value_of(2.0, 0.5), 2.0);
  EXPECT_EQ(verdict.status, GateStatus::kInconclusive);
  EXPECT_EQ(verdict.needs_prompts, std::nullopt);
  EXPECT_EQ(verdict.reason,
            "the interval of 2 reaches across at most 2; more prompts would not decide it: the "
            "value lies on the limit");
}

// With few prompts nothing passes, but what is clearly bad fails.
TEST(AtMost, FewPromptsPassNothing) {
  const Verdict good = at_most(value_of(1.0, 0.1, 19), 2.0);
  EXPECT_EQ(good.status, GateStatus::kInconclusive);
  EXPECT_EQ(good.needs_prompts, 20);
  EXPECT_EQ(good.reason, "19 prompts are too few to judge; 20 are needed");
  EXPECT_EQ(at_most(value_of(9.0, 0.1, 6), 2.0).status, GateStatus::kFail);
  GateValue none = value_of(9.0, 0.1, 3);
  none.ci90.reset();
  none.ci95.reset();
  none.se.reset();
  EXPECT_EQ(at_most(none, 2.0).status, GateStatus::kInconclusive);
}

TEST(AtMost, NoEventNeedsEnoughRows) {
  GateValue value;
  value.prompts = 30;
  value.rows = 1500;
  value.se = 0.0;
  value.ci90 = Interval{0.0, 0.002};  // 3 / 1500
  value.ci95 = value.ci90;
  value.method = IntervalMethod::kRuleOfThree;
  const Verdict verdict = at_most(value, 0.001);
  EXPECT_EQ(verdict.status, GateStatus::kInconclusive);
  EXPECT_EQ(verdict.needs_prompts, 60);  // 3,000 rows at 50 a prompt
  EXPECT_EQ(verdict.power, 0.0);
  EXPECT_EQ(at_most(value, 0.002).status, GateStatus::kPass);
}

TEST(Between, PassesFailsOrCannotTell) {
  EXPECT_EQ(between(value_of(1.0, 0.01), 0.98, 1.02).status, GateStatus::kPass);
  EXPECT_EQ(between(value_of(0.5, 0.01), 0.98, 1.02).status, GateStatus::kFail);
  EXPECT_EQ(between(value_of(2.0, 0.01), 0.98, 1.02).status, GateStatus::kFail);
  const Verdict undecided = between(value_of(1.0, 0.03), 0.98, 1.02);
  EXPECT_EQ(undecided.status, GateStatus::kInconclusive);
  EXPECT_NEAR(*undecided.smallest_margin, 0.03, 1e-12);
  // sigma = 0.03/1.7 sqrt 30; 8.5638 (sigma / 0.02)^2 = 200.02
  EXPECT_EQ(undecided.needs_prompts, 201);
  EXPECT_EQ(between(value_of(1.0, 0.01, 10), 0.98, 1.02).status, GateStatus::kInconclusive);
}

// p > alpha in a test of difference is not equality: an interval that holds 0 but is wider than the
// margin does not pass; and a difference that is surely there but small is equivalent.
TEST(Between, NotDifferentIsNotEqual) {
  EXPECT_EQ(between(value_of(0.0, 0.004), -0.002, 0.002).status, GateStatus::kInconclusive);
  EXPECT_EQ(between(value_of(0.001, 0.0002), -0.002, 0.002).status, GateStatus::kPass);
}

}  // namespace
}  // namespace mg
