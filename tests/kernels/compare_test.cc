// The comparator and the suite themselves: each planted fault must be caught.
#include "kernels/contract/compare.h"

#include <gtest/gtest.h>

#include <limits>

namespace mg::contract {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

Comparison compare_one(float expected, float actual, double allowed) {
  return compare({&expected, 1}, {&actual, 1}, {&allowed, 1});
}

TEST(CompareTest, EqualIsPerfect) {
  const Comparison c = compare_one(1.5F, 1.5F, 0);
  EXPECT_TRUE(c.ok());
  EXPECT_EQ(c.same_bits, 1);
  EXPECT_EQ(c.worst_ratio, 0);
}

TEST(CompareTest, WithinAndBeyondTheTolerance) {
  EXPECT_TRUE(compare_one(1.0F, 1.25F, 0.25).ok());
  EXPECT_FALSE(compare_one(1.0F, 1.25F, 0.2499).ok());
  EXPECT_FALSE(compare_one(0.5F, -0.5F, 0.9).ok());
  EXPECT_FALSE(compare_one(-1.0F, -9.0F, 0.1).ok());
  EXPECT_DOUBLE_EQ(compare_one(1.0F, 1.25F, 0.5).worst_ratio, 0.5);
}

TEST(CompareTest, NothingAllowedMeansNothing) {
  EXPECT_FALSE(compare_one(0.0F, 1e-45F, 0).ok());
  EXPECT_TRUE(compare_one(0.0F, -0.0F, 0).ok());
}

TEST(CompareTest, NonFiniteNeverCountsAsClose) {
  for (const float bad : {kNan, kInf, -kInf}) {
    EXPECT_FALSE(compare_one(1.0F, bad, 1e30).ok()) << bad;
    EXPECT_FALSE(compare_one(bad, 1.0F, 1e30).ok()) << bad;
    EXPECT_TRUE(compare_one(bad, bad, 0).ok()) << bad;
  }
  EXPECT_FALSE(compare_one(kInf, -kInf, 1e30).ok());
  EXPECT_FALSE(compare_one(kNan, kInf, 1e30).ok());
  EXPECT_FALSE(compare_one(kInf, kNan, 1e30).ok());
}

TEST(CompareTest, ToleranceThatIsNanAllowsNothing) {
  EXPECT_FALSE(compare_one(1.0F, 1.5F, std::numeric_limits<double>::quiet_NaN()).ok());
}

TEST(CompareTest, OneWrongElementAmongManyIsFoundAndNamed) {
  std::vector<float> expected(1000, 2.0F);
  std::vector<float> actual = expected;
  const std::vector<double> allowed(1000, 1e-6);
  actual[617] = 2.5F;
  const Comparison c = compare(expected, actual, allowed);
  EXPECT_EQ(c.beyond, 1);
  EXPECT_EQ(c.worst, 617);
  EXPECT_EQ(c.same_bits, 999);
  EXPECT_EQ(describe(c),
            "1 of 1000 elements too far, 0 not finite as expected; worst at 617: 2.5, expected 2, "
            "allowed 1e-06");
}

TEST(CompareTest, ANonFiniteMismatchIsNamedBeforeALargeError) {
  const std::vector<float> expected{1, 2, 3};
  const std::vector<float> actual{100, kNan, 3};
  const std::vector<double> allowed(3, 0.1);
  const Comparison c = compare(expected, actual, allowed);
  EXPECT_EQ(c.beyond, 1);
  EXPECT_EQ(c.non_finite, 1);
  EXPECT_EQ(c.worst, 1);
}

}  // namespace
}  // namespace mg::contract
