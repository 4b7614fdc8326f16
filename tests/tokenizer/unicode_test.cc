#include "harness/io/tokenizer/unicode.h"

#include <gtest/gtest.h>

#include "harness/io/tokenizer/byte_alphabet.h"

namespace mg {
namespace {

TEST(Utf8, RoundTripsEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) {
      continue;
    }
    const std::string text = to_utf8(c);
    ASSERT_EQ(code_point_at(text, 0).value, c);
    ASSERT_EQ(code_point_at(text, 0).bytes, text.size());
    ASSERT_EQ(code_point_before(text, text.size()).value, c);
    ASSERT_EQ(find_invalid_utf8(text), std::string::npos);
  }
}

TEST(Utf8, LossyDecodingReplacesMaximalParts) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(utf8_lossy("a\xFFz"), "a" + r + "z");
  EXPECT_EQ(utf8_lossy("\xE4\xBD"), r);                      // cut short: one
  EXPECT_EQ(utf8_lossy("\xE0\x80\x80"), r + r + r);          // overlong: each byte
  EXPECT_EQ(utf8_lossy("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(utf8_lossy("\xF0\x9F\x98z"), r + "z");           // three of four
  EXPECT_EQ(utf8_lossy("\xF4\x90\x80\x80"), r + r + r + r);  // above U+10FFFF
  EXPECT_EQ(utf8_lossy("\xC0\xAF"), r + r);
  EXPECT_EQ(find_invalid_utf8("ab\xE4\xBD"), 2U);
}

TEST(Classes, KnowWhatTheReferenceKnows) {
  EXPECT_TRUE(is_numeric(U'7'));
  EXPECT_TRUE(is_numeric(0xBD));    // one half
  EXPECT_TRUE(is_numeric(0x2167));  // Roman eight
  EXPECT_FALSE(is_numeric(U'a'));
  EXPECT_TRUE(is_punctuation(U'$'));  // ASCII symbols count
  EXPECT_FALSE(is_punctuation(0xA2));
  EXPECT_TRUE(is_word(U'_'));
  EXPECT_TRUE(is_word(0x301));  // a mark
  EXPECT_FALSE(is_word(U'-'));
  EXPECT_TRUE(is_whitespace(0x85));
  EXPECT_FALSE(is_whitespace(0x180E));
  EXPECT_FALSE(is_whitespace(0x200B));
}

TEST(Tables, AreSortedAndDisjoint) {
  for (const auto ranges :
       {normaliser_strangers(), numeric_ranges(), punctuation_ranges(), word_ranges()}) {
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      EXPECT_LE(ranges[i].first, ranges[i].last);
      if (i > 0) {
        EXPECT_LT(ranges[i - 1].last, ranges[i].first);
      }
    }
  }
  for (const StandIn& row : regex_stand_ins()) {
    EXPECT_EQ(to_utf8(row.first).size(), to_utf8(row.stand_in).size());
    EXPECT_EQ(to_utf8(row.last).size(), to_utf8(row.stand_in).size());
  }
}

TEST(ByteAlphabet, IsGpt2s) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all.push_back(static_cast<char>(byte));
  }
  EXPECT_EQ(unspell_bytes(spell_bytes(all)), all);
  EXPECT_EQ(spell_bytes(" a\n"), "\u0120a\u010A");
  EXPECT_EQ(spell_bytes("\xAD"), "\u0143");  // the last of those without a character of their own
  EXPECT_EQ(unspell_bytes("\u0144"), std::nullopt);
  EXPECT_EQ(unspell_bytes("a b"), std::nullopt);
}

}  // namespace
}  // namespace mg
