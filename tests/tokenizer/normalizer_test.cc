#include "harness/io/tokenizer/normalizer.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <set>

#include "harness/io/tokenizer/unicode.h"

namespace mg {
namespace {

std::string form(std::string_view text, UnicodeForm which) {
  AlignedText aligned(text, 0, true);
  apply_form(aligned, which);
  return aligned.text();
}

TEST(UnicodeForms, KnownPairs) {
  EXPECT_EQ(form("e\u0301 \u212B", UnicodeForm::kNfc), "\u00E9 \u00C5");
  EXPECT_EQ(form("\u00E9", UnicodeForm::kNfd), "e\u0301");
  EXPECT_EQ(form("\uFB01\u00BD", UnicodeForm::kNfkc), "fi1\u20442");
  EXPECT_EQ(form("\uAC00", UnicodeForm::kNfkd), "\u1100\u1161");
  EXPECT_EQ(form("a\u0323\u0301", UnicodeForm::kNfc), "\u1EA1\u0301");
  EXPECT_EQ(form("a\u0301\u0323", UnicodeForm::kNfc), "\u1EA1\u0301");  // marks are put in order
  // U+11A7 is no trailing consonant: the syllable before it stays as it is, and so does the vowel.
  EXPECT_EQ(form("\u110F\u1173\u11A7", UnicodeForm::kNfc), "\uD06C\u11A7");
  EXPECT_EQ(form("\u110F\u1173\u11A8", UnicodeForm::kNfc), "\uD06D");
}

// Newer than the reference's tables: passed through, and nothing moves across them.
TEST(UnicodeForms, StrangersStandStill) {
  EXPECT_EQ(form("\u32FF", UnicodeForm::kNfkc), "\u32FF");
  EXPECT_EQ(form("a\u0345\u1DF6", UnicodeForm::kNfd), "a\u0345\u1DF6");
  EXPECT_EQ(form("\U00011935\U00011930", UnicodeForm::kNfc), "\U00011935\U00011930");
}

TEST(UnicodeForms, OriginsFollow) {
  AlignedText text("xe\u0301y", 10, true);
  apply_form(text, UnicodeForm::kNfc);
  ASSERT_EQ(text.text(), "x\u00E9y");
  EXPECT_EQ(text.origin(0, 1), (TextRange{10, 11}));
  EXPECT_EQ(text.origin(1, 3), (TextRange{11, 14}));
  EXPECT_EQ(text.origin(3, 4), (TextRange{14, 15}));
}

// The fast answer must be right: no inert character is changed by NFC, has a combining class, or
// joins what stands before it.
TEST(UnicodeForms, InertCharactersAreInert) {
  std::set<utf8proc_int32_t> second_parts;
  for (utf8proc_int32_t c = 0; c < 0x110000; ++c) {
    utf8proc_int32_t parts[4];
    int last = 0;
    const auto count = utf8proc_decompose_char(c, parts, 4, UTF8PROC_STABLE, &last);
    for (utf8proc_ssize_t i = 1; i < count && i < 4; ++i) {
      second_parts.insert(parts[i]);
    }
  }
  int inert = 0;
  for (char32_t c = 0x80; c < 0x110000; ++c) {
    if (!is_nfc_inert(c)) {
      continue;
    }
    ++inert;
    const auto code = static_cast<utf8proc_int32_t>(c);
    EXPECT_EQ(utf8proc_get_property(code)->combining_class, 0) << std::hex << code;
    EXPECT_FALSE(second_parts.contains(code)) << std::hex << code;
    const std::string text = to_utf8(c);
    utf8proc_uint8_t* out =
        utf8proc_NFC(static_cast<const utf8proc_uint8_t*>(static_cast<const void*>(text.c_str())));
    EXPECT_EQ(std::string(static_cast<const char*>(static_cast<void*>(out))), text)
        << std::hex << code;
    std::free(out);
  }
  EXPECT_GT(inert, 30000);
}

}  // namespace
}  // namespace mg
