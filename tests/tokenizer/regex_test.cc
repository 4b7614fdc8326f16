#include "harness/io/tokenizer/regex.h"

#include <gtest/gtest.h>

#include "harness/io/tokenizer/regex_syntax.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

std::vector<std::string> matches(std::string_view expression, std::string_view text) {
  const Regex regex(expression, "test");
  RegexScratch scratch;
  std::vector<TextRange> ranges;
  regex.find_all(text, scratch, ranges);
  std::vector<std::string> out;
  for (const TextRange& range : ranges) {
    out.emplace_back(text.substr(range.begin, range.end - range.begin));
  }
  return out;
}

using Texts = std::vector<std::string>;

// What the reference library's engine answered when asked.
TEST(Regex, MeansWhatTheReferenceMeans) {
  EXPECT_EQ(matches(R"(\d{1,3}+)", "1234567"), (Texts{"1234567"}));  // a repeat of the interval
  EXPECT_EQ(matches(R"(\d{2}?)", "1234567"), (Texts{"12", "34", "56", ""}));  // optional, greedy
  EXPECT_EQ(matches(R"(\d{,2})", "12345"), (Texts{"12", "34", "5"}));
  EXPECT_EQ(matches(R"(\d{1,3}?)", "123"), (Texts{"1", "2", "3"}));
  EXPECT_EQ(matches(R"([^(\s|[.,!?])]+)", "a (b|c) d,e"), (Texts{"a", "b", "c", "d", "e"}));
  EXPECT_EQ(matches(R"([\w&&[^a-c]]+)", "abcdef cab"), (Texts{"def"}));
  EXPECT_EQ(matches(R"([\p{L}&&[^a]b]+)", "abcdef cab"), (Texts{"bcdef", "c", "b"}));
  EXPECT_EQ(matches(R"([^[a-b]c]+)", "abcdab"), (Texts{"d"}));
  EXPECT_EQ(matches(R"(\h+)", "xyz09af"), (Texts{"09af"}));
  EXPECT_EQ(matches(R"(a.b)", "a\nbaxb"), (Texts{"axb"}));
  EXPECT_EQ(matches(R"(a(?i)b|c)", "aB ac aC c"), (Texts{"aB", "ac", "aC"}));
  EXPECT_EQ(matches(R"((?i:'s|'ll))", "'\u017F 'LL 's"), (Texts{"'\u017F", "'LL", "'s"}));
  EXPECT_EQ(matches(R"(\bfoo\b)", "foo xfoo foox"), (Texts{"foo"}));
  EXPECT_EQ(matches(R"(^b)", "b\nb"), (Texts{"b", "b"}));
  EXPECT_EQ(matches(R"(\s+$)", "a  \nb \n"), (Texts{"  ", " \n"}));
  EXPECT_EQ(matches(R"(\p{^L}+)", "ab12"), (Texts{"12"}));
  EXPECT_EQ(matches(R"([[:alpha:]]+)", "ab1"), (Texts{"ab"}));
  EXPECT_EQ(matches(R"(\x{41}B\x43)", "ABC"), (Texts{"ABC"}));
  EXPECT_EQ(matches(R"(a{2)", "a{2"), (Texts{"a{2"}));
  EXPECT_EQ(matches(R"(\R)", "a\r\nb\n"), (Texts{"\r\n", "\n"}));
  EXPECT_EQ(matches(R"(x*)", "axb"), (Texts{"", "x", ""}));
}

TEST(Regex, ClassesHaveTheReferencesMembers) {
  EXPECT_TRUE(matches(R"(\s)", "\u180E").empty());
  EXPECT_EQ(matches(R"(\w+)", "a\u0301_\u0661-"), (Texts{"a\u0301_\u0661"}));
  // Unicode 15 and 16: an ideograph of extension H, a Kawi letter, a Garay capital.
  EXPECT_EQ(matches(R"(\p{Han}+)", "\U00031350\u4E00"), (Texts{"\U00031350\u4E00"}));
  EXPECT_EQ(matches(R"(\p{L}+)", "x\U00011F04y"), (Texts{"x\U00011F04y"}));
  EXPECT_EQ(matches(R"(\p{Lu})", "\U00010D50"), (Texts{"\U00010D50"}));
}

std::string error_of(std::string_view expression) {
  try {
    const Regex regex(expression, "tokenizer.json, pre_tokenizer.pattern");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Regex, RefusesWhatItCannotTranslate) {
  EXPECT_EQ(error_of(R"((a)\1)"),
            "error[tokenizer.unsupported-regex]: a regular expression uses escape \\1, which this "
            "reader does not translate\n"
            "  where:    tokenizer.json, pre_tokenizer.pattern\n"
            "  actual:   (a)\\1\n"
            "  hint:     please report the model; guessing would change its token ids");
  for (const char* expression : {R"(\Ka)",
                                 R"(\G)",
                                 R"(\X)",
                                 R"((?m)a)",
                                 R"((?x) a)",
                                 R"((?i:ss))",
                                 "(?i:\u00df)",
                                 R"(\pL)",
                                 R"([]a])",
                                 R"([a-\d])",
                                 R"((?~a))",
                                 R"((?<n>a)\k<n>)",
                                 R"((a)",
                                 R"([a)",
                                 R"(a\)",
                                 R"(\p{In Greek)",
                                 R"(\p{NoSuchScript})",
                                 R"(*a)",
                                 R"(\xFF)",
                                 R"([z-a])"}) {
    EXPECT_NE(error_of(expression).find("error[tokenizer.unsupported-regex]"), std::string::npos)
        << expression << ": " << error_of(expression);
  }
}

TEST(Regex, QuotesLiterals) {
  const std::string literal = R"(a.b*c[d]{e}(f)|g\h^i$j?k+l#m-n)";
  EXPECT_EQ(matches(literal.substr(0, 1), literal), (Texts{"a"}));
  EXPECT_EQ(quote_regex("a.b"), "a\\.b");
}

}  // namespace
}  // namespace mg
