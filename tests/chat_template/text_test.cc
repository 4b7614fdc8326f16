#include "harness/io/chat_template/jinja_text.h"

#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <random>

namespace mg::jinja {
namespace {

// What Python prints.
TEST(PythonFloat, KnownValues) {
  EXPECT_EQ(python_float(1), "1.0");
  EXPECT_EQ(python_float(-0.0), "-0.0");
  EXPECT_EQ(python_float(0.0001), "0.0001");
  EXPECT_EQ(python_float(0.00001), "1e-05");
  EXPECT_EQ(python_float(1e15), "1000000000000000.0");
  EXPECT_EQ(python_float(1e16), "1e+16");
  EXPECT_EQ(python_float(123456789.125), "123456789.125");
  EXPECT_EQ(python_float(1.5e300), "1.5e+300");
  EXPECT_EQ(python_float(5e-324), "5e-324");
  EXPECT_EQ(python_float(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(python_float(std::nan("")), "nan");
}

TEST(PythonFloat, ReadsBack) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t bits = random();
    double value = 0;
    __builtin_memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) {
      continue;
    }
    const std::string text = python_float(value);
    double back = 0;
    std::from_chars(text.data(), text.data() + text.size(), back);
    std::uint64_t back_bits = 0;
    __builtin_memcpy(&back_bits, &back, sizeof(back));
    EXPECT_EQ(back_bits, bits) << text;
  }
}

TEST(PythonQuote, ChoosesQuotesAndEscapes) {
  EXPECT_EQ(python_quote("it's"), "\"it's\"");
  EXPECT_EQ(python_quote("a\"b"), "'a\"b'");
  EXPECT_EQ(python_quote("'\""), "'\\'\"'");
  EXPECT_EQ(python_quote("\n\x01\u00e9\u200b\U0001F600"), "'\\n\\x01\u00e9\\u200b\U0001F600'");
}

TEST(PythonStrip, KnowsUnicodeSpace) {
  EXPECT_EQ(python_strip("\u00a0 a \u2003\x1c", true, true), "a");
  EXPECT_EQ(python_strip("\u200ba", true, true), "\u200ba");
  EXPECT_EQ(python_strip("\u00e9a\u00e9", "\u00e9", true, false), "a\u00e9");
}

TEST(PythonCase, KnowsSpecialCases) {
  EXPECT_EQ(python_upper("stra\u00dfe \ufb01"), "STRASSE FI");
  EXPECT_EQ(python_lower("\u039f\u03a3 \u03a3\u0391"), "\u03bf\u03c2 \u03c3\u03b1");
  EXPECT_EQ(python_title("they're bill's"), "They'Re Bill'S");
  EXPECT_EQ(python_capitalize("\u00c9A"), "\u00c9a");
}

}  // namespace
}  // namespace mg::jinja
