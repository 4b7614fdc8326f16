// Steps in nightly values: found at the right run, and not where there is none.
#include "reports/history/steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace mg {
namespace {

/// Thirty nightly values around `level` with 5 % of noise, as KL has from merge to merge.
std::vector<double> nights(std::uint64_t seed, double level = 2.6e-6) {
  std::mt19937_64 generator(seed);
  std::vector<double> values;
  for (int i = 0; i < 30; ++i) {
    // A sum of twelve uniform numbers: the same everywhere, unlike the library's distributions.
    double normal = -6.0;
    for (int j = 0; j < 12; ++j) {
      normal += static_cast<double>(generator() >> 11U) * 0x1p-53;
    }
    values.push_back(level * std::exp(0.05 * normal));
  }
  return values;
}

TEST(Steps, APlantedStepIsFoundAtItsRun) {
  std::size_t others = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const std::size_t at : {3U, 11U, 19U, 27U}) {
      std::vector<double> values = nights(seed);
      for (std::size_t i = at; i < values.size(); ++i) {
        values[i] *= 1.8;
      }
      const std::vector<Step> steps = find_steps(values);
      const auto found = std::find_if(steps.begin(), steps.end(),
                                      [at](const Step& step) { return step.at == at; });
      ASSERT_NE(found, steps.end()) << seed << " " << at;
      EXPECT_NEAR(found->before, 2.6e-6, 0.3e-6);
      EXPECT_NEAR(found->after, 1.8 * 2.6e-6, 0.5e-6);
      others += steps.size() - 1;
    }
  }
  EXPECT_LE(others, 4U);  // false alarms beside it: 2 % of 200 series
}

TEST(Steps, NoiseAndSingleOddRunsAreNone) {
  int alarms = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::vector<double> values = nights(seed);
    alarms += find_steps(values).empty() ? 0 : 1;
    values[12] *= 40.0;
    alarms += find_steps(values).empty() ? 0 : 1;
  }
  EXPECT_LE(alarms, 8);  // of 400 series: 2 %
}

TEST(Steps, UpAndDownAgainAreTwo) {
  std::vector<double> values = nights(5);
  for (std::size_t i = 8; i < 20; ++i) {
    values[i] *= 3.0;
  }
  const std::vector<Step> steps = find_steps(values);
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps[0].at, 8U);
  EXPECT_EQ(steps[1].at, 20U);
}

TEST(Steps, ExactSeriesNeedNoSpread) {
  EXPECT_TRUE(find_steps(std::vector<double>(30, 0.0)).empty());
  std::vector<double> counts(30, 0.0);
  for (std::size_t i = 21; i < counts.size(); ++i) {
    counts[i] = 7.0;
  }
  const std::vector<Step> steps = find_steps(counts);
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_EQ(steps[0].at, 21U);
  EXPECT_TRUE(find_steps({}).empty());
  EXPECT_TRUE(find_steps(std::vector<double>{1.0, 2.0, 3.0, 4.0, 5.0}).empty());
}

}  // namespace
}  // namespace mg
