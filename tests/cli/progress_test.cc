#include <gtest/gtest.h>

#include "harness/cli/terminal.h"

namespace mg {
namespace {

TEST(ProgressTest, ShowsShareAndTimeLeft) {
  EXPECT_EQ(ProgressBar::line("audit", 0.25, 10.0, 100),
            "audit [######..................]  25 %  30 s left");
  EXPECT_EQ(ProgressBar::line("audit", 1.0, 75.0, 100),
            "audit [########################] 100 %  0 s left");
}

TEST(ProgressTest, PromisesNothingAtTheBeginning) {
  EXPECT_EQ(ProgressBar::line("audit", 0.01, 3.0, 100), "audit [........................]   1 %");
}

TEST(ProgressTest, NeverFillsMoreThanTheLine) {
  EXPECT_EQ(ProgressBar::line("a long description of the work", 0.5, 5.0, 20).size(), 20U);
  EXPECT_EQ(ProgressBar::line("x", 4.5, 5.0, 100), "x [########################] 100 %  0 s left");
}

}  // namespace
}  // namespace mg
