#include "reports/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace mg {
namespace {

using testing::ElementsAre;

TEST(Printable, PlainTextIsUnchanged) {
  const std::string text = "model.layers.0 \xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\xA6\x99";
  EXPECT_EQ(printable(text), text);
}

TEST(Printable, ControlsAndReorderingMarksBecomeEscapes) {
  EXPECT_EQ(printable("a\nb\r\tc"), "a\\nb\\r\\tc");
  EXPECT_EQ(printable("\x1b[31mred\x07"), "\\x1b[31mred\\x07");
  EXPECT_EQ(printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("\x7f"), "\\x7f");
  EXPECT_EQ(printable("\xC2\x9B"), "\\x9b");  // C1: another way to begin an escape sequence
  EXPECT_EQ(printable("a\xE2\x80\xAE"
                      "b"),
            "a\\u202eb");                           // right-to-left override
  EXPECT_EQ(printable("\xE2\x80\xA8"), "\\u2028");  // line separator
}

TEST(Printable, NoByteOfAnyValueReachesTheTerminalAsAControl) {
  for (int byte = 0; byte < 256; ++byte) {
    for (const unsigned char c : printable(std::string(1, static_cast<char>(byte)))) {
      EXPECT_TRUE(c >= 0x20 && c != 0x7F) << byte;
    }
  }
}

TEST(ValidUtf8, BrokenSequences) {
  EXPECT_EQ(valid_utf8("a\xff"
                       "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(valid_utf8("\xE6\x97"), "\xEF\xBF\xBD\xEF\xBF\xBD");                  // cut short
  EXPECT_EQ(valid_utf8("\xC0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");                  // overlong NUL
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // surrogate
}

TEST(DisplayWidth, WideAndCombining) {
  EXPECT_EQ(display_width("abc"), 3U);
  EXPECT_EQ(display_width("\xE6\x97\xA5\xE6\x9C\xAC"), 4U);  // two CJK characters
  EXPECT_EQ(display_width("e\xCC\x81"), 1U);                 // e and a combining accent
}

TEST(Fit, CutsTheMiddle) {
  EXPECT_EQ(fit("short", 10), "short");
  EXPECT_EQ(fit("model.layers.12.self_attn.q_proj.weight", 20), "model.lay...j.weight");
  EXPECT_EQ(display_width(fit("model.layers.12.self_attn.q_proj.weight", 20)), 20U);
  EXPECT_EQ(fit("abcdef", 3), "...");
  EXPECT_EQ(fit("abcdef", 1), ".");
  EXPECT_LE(display_width(fit("\xE6\x97\xA5\xE6\x9C\xAC\xE6\x97\xA5\xE6\x9C\xAC", 6)), 6U);
}

TEST(Wrap, WordsAndLongWords) {
  EXPECT_THAT(wrap("one two three", 7), ElementsAre("one two", "three"));
  EXPECT_THAT(wrap("abcdefghij", 4), ElementsAre("abcd", "efgh", "ij"));
  EXPECT_THAT(wrap("ab abcdefghij x", 4), ElementsAre("ab", "abcd", "efgh", "ij x"));
  EXPECT_THAT(wrap("", 4), ElementsAre(""));
  EXPECT_THAT(wrap("a", 1), ElementsAre("a"));
}

}  // namespace
}  // namespace mg
