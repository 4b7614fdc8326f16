#include "reports/format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace mg {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(FormatNumber, ThreeDigitsAndMoreNearOne) {
  const std::vector<std::pair<double, const char*>> cases{{0.0, "0"},
                                                          {-0.0, "0"},
                                                          {2.6e-6, "2.6e-6"},
                                                          {2.615728e-6, "2.62e-6"},
                                                          {-1.1e-5, "-1.1e-5"},
                                                          {0.00123456, "0.00123"},
                                                          {0.0009994, "9.99e-4"},
                                                          {0.0009996, "0.001"},
                                                          {0.0231, "0.0231"},
                                                          {0.5, "0.5"},
                                                          {12.345, "12.3"},
                                                          {99949.0, "99949"},
                                                          {99951.0, "1e5"},
                                                          {123456.0, "1.23e5"},
                                                          {1.0, "1"},
                                                          {1.0001, "1.0001"},
                                                          {0.99999, "0.99999"},
                                                          {1.00012345, "1.00012"},
                                                          {0.962, "0.962"},
                                                          {1.0366, "1.037"},
                                                          {1.5, "1.5"},
                                                          {1e-300, "1e-300"},
                                                          {kNan, "not finite"},
                                                          {-kInf, "not finite"}};
  for (const auto& [value, text] : cases) {
    EXPECT_EQ(format_number(value), text) << value;
  }
}

TEST(FormatNumber, NeverHidesThatANumberIsNotOne) {
  for (int exponent = 1; exponent <= 10; ++exponent) {
    const double distance = std::pow(10.0, -exponent);
    EXPECT_NE(format_number(1.0 + distance), "1") << exponent;
    EXPECT_NE(format_number(1.0 - distance), "1") << exponent;
    EXPECT_NE(format_percent(1.0 - distance), "100 %") << exponent;
  }
}

TEST(FormatPercent, Cases) {
  const std::vector<std::pair<double, const char*>> cases{
      {0.0, "0 %"},        {1.0, "100 %"},        {0.5, "50 %"},        {0.99967, "99.967 %"},
      {0.9999, "99.99 %"}, {0.958, "95.8 %"},     {0.00041, "0.041 %"}, {4.26e-6, "4.26e-4 %"},
      {-0.012, "-1.2 %"},  {0.99999, "99.999 %"}, {1.2, "120 %"},       {kNan, "not finite"}};
  for (const auto& [value, text] : cases) {
    EXPECT_EQ(format_percent(value), text) << value;
  }
}

TEST(FormatCount, Thousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(3072), "3,072");
  EXPECT_EQ(format_count(134515008), "134,515,008");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(-123), "-123");
}

TEST(FormatBytes, SiUnits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1 kB");
  EXPECT_EQ(format_bytes(269060280), "269 MB");
  EXPECT_EQ(format_bytes(9804072), "9.8 MB");
  EXPECT_EQ(format_bytes(15'230'000'000), "15.2 GB");
  EXPECT_EQ(format_bytes(999'700'000), "1 GB");
}

TEST(FormatSeconds, Scales) {
  EXPECT_EQ(format_seconds(0.0123), "12 ms");
  EXPECT_EQ(format_seconds(0.41), "0.41 s");
  EXPECT_EQ(format_seconds(12.3), "12.3 s");
  EXPECT_EQ(format_seconds(252.0), "4 min 12 s");
  EXPECT_EQ(format_seconds(7260.0), "2 h 1 min");
  EXPECT_EQ(format_seconds(kNan), "-");
}

TEST(FormatValue, Units) {
  EXPECT_EQ(format_value(2.6e-6, "nat"), "2.6e-6 nat");
  EXPECT_EQ(format_value(1.0001, "ratio"), "1.0001");
  EXPECT_EQ(format_value(0.001, "share"), "0.1 %");
  EXPECT_EQ(format_value(7.0, "tensors"), "7 tensors");
  EXPECT_EQ(format_value(std::nullopt, "nat"), "-");
}

TEST(FormatInterval, EndsAreToldApart) {
  EXPECT_EQ(format_interval(Interval{2.1e-6, 3.2e-6}, "nat"), "[2.1e-6, 3.2e-6]");
  EXPECT_EQ(format_interval(Interval{0.03, 0.05}, "share"), "[3 %, 5 %]");
  EXPECT_EQ(format_interval(Interval{0.01176, 0.01184}, "nat"), "[0.01176, 0.01184]");
  EXPECT_EQ(format_interval(Interval{0.5, 0.5}, ""), "[0.5, 0.5]");
  EXPECT_EQ(format_interval(Interval{-kInf, kInf}, ""), "[-inf, inf]");
  EXPECT_EQ(format_interval(std::nullopt, ""), "-");
}

}  // namespace
}  // namespace mg
