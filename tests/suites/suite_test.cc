#include "suites/suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "suites/reader.h"
#include "tests/suites/expect_error.h"

namespace mg {
namespace {

using testing::ElementsAre;
using testing::StrEq;

Suite parse(std::string_view text) {
  return parse_suite(text, "s", "s.jsonl");
}

ModelLimits limits(std::int64_t vocab, std::int64_t context) {
  return {.vocab_size = vocab, .max_tokens = context, .special_ids = {}, .bos = {}};
}

TEST(CheckLimits, WholeRangeIsAccepted) {
  EXPECT_NO_THROW(check_limits(parse(R"({"id":"a","input_ids":[0,9,5]})"), limits(10, 3)));
}

TEST(CheckLimits, IdOutsideTheVocabulary) {
  const Suite suite = parse(
      "{\"id\":\"a\",\"input_ids\":[9]}\n{\"id\":\"b\",\"input_ids\":[1,10,11]}\n"
      "{\"id\":\"c\",\"input_ids\":[12]}");
  EXPECT_THAT(error_text([&] { check_limits(suite, limits(10, 3)); }),
              StrEq("error[suite.token-out-of-range]: a prompt has a token id outside the model's "
                    "vocabulary\n"
                    "  where:    s.jsonl, line 2, prompt \"b\" (and 1 other prompt)\n"
                    "  expected: ids from 0 to 9   actual: 10 at position 1\n"
                    "  hint:     the ids were made with another model's tokenizer"));
}

TEST(CheckLimits, TooLong) {
  const Suite suite = parse(R"({"id":"a","input_ids":[1,2],"completion":[3,4]})");
  EXPECT_NO_THROW(check_limits(suite, limits(10, 4)));
  EXPECT_THAT(error_text([&] { check_limits(suite, limits(10, 3)); }),
              StrEq("error[suite.prompt-too-long]: a prompt is longer than the model's context\n"
                    "  where:    s.jsonl, line 1, prompt \"a\"\n"
                    "  expected: at most 3 tokens   actual: 4 tokens\n"
                    "  hint:     shorten the prompt; it is not cut, because a cut prompt tests "
                    "another text"));
}

TEST(CheckLimits, TokensToBeSampledCount) {
  Suite suite = parse(R"({"id":"a","input_ids":[1,2]})");
  EXPECT_FALSE(suite.needs_model_sampling());
  suite.prompts[0].sample_tokens = 2;
  EXPECT_TRUE(suite.needs_model_sampling());
  EXPECT_NO_THROW(check_limits(suite, limits(10, 4)));
  EXPECT_THAT(error_text([&] { check_limits(suite, limits(10, 3)); }),
              testing::HasSubstr("actual: 4 tokens"));
}

TEST(CheckLimits, TextNeedsATokenizer) {
  EXPECT_THAT(
      error_text([] { check_limits(parse(R"({"id":"a","text":"hello"})"), limits(10, 3)); }),
      StrEq("error[suite.needs-tokenizer]: a prompt is given as text and has not been tokenized\n"
            "  where:    s.jsonl, line 1, prompt \"a\"\n"
            "  expected: \"input_ids\"   actual: \"text\"\n"
            "  hint:     tokenize the prompt with the model's own tokenizer and write its ids"));
  EXPECT_THAT(
      error_text([] { require_token_ids(parse(R"({"id":"a","messages":[{"role":"user"}]})")); }),
      StrEq("error[suite.needs-tokenizer]: a prompt is given as messages and has not been "
            "tokenized\n"
            "  where:    s.jsonl, line 1, prompt \"a\"\n"
            "  expected: \"input_ids\"   actual: \"messages\"\n"
            "  hint:     tokenize the prompt with the model's own tokenizer and write its ids"));
}

Suite many_prompts() {
  std::string text;
  for (int i = 0; i < 40; ++i) {
    text += "{\"id\":\"p" + std::to_string(i) + "\",\"input_ids\":[1";
    for (int t = 0; t < i; ++t) {
      text += ",2";
    }
    text += "]}\n";
  }
  return parse(text);
}

TEST(LimitTokens, NothingToDo) {
  const Suite suite = many_prompts();
  EXPECT_EQ(limit_tokens(suite, suite.total_tokens()).prompts.size(), 40U);
}

TEST(LimitTokens, WholePromptsInOrderUnderTheLimitFromAllOverTheSuite) {
  const Suite suite = many_prompts();
  const Suite cut = limit_tokens(suite, 400);
  EXPECT_LE(cut.total_tokens(), 400);
  EXPECT_GT(cut.total_tokens(),
            360);  // no prompt of 40 tokens or fewer was left out with room for it
  EXPECT_EQ(cut.digest, suite.digest);
  EXPECT_EQ(cut.name, "s");
  std::int64_t last = 0;
  std::int64_t from_first_half = 0;
  for (const SuitePrompt& prompt : cut.prompts) {
    EXPECT_GT(prompt.line, last);
    last = prompt.line;
    from_first_half += prompt.line <= 20 ? 1 : 0;
    EXPECT_EQ(prompt.tokens(), prompt.line);  // prompt i has i + 1 tokens: not cut
  }
  EXPECT_GT(from_first_half, 0);
  EXPECT_LT(from_first_half, static_cast<std::int64_t>(cut.prompts.size()));
}

TEST(LimitTokens, TheChoiceDependsOnIdsNotOnTheirOrder) {
  Suite suite = many_prompts();
  Suite reversed = suite;
  std::reverse(reversed.prompts.begin(), reversed.prompts.end());
  const Suite cut = limit_tokens(suite, 300);
  Suite cut_reversed = limit_tokens(reversed, 300);
  std::reverse(cut_reversed.prompts.begin(), cut_reversed.prompts.end());
  ASSERT_EQ(cut.prompts.size(), cut_reversed.prompts.size());
  for (std::size_t i = 0; i < cut.prompts.size(); ++i) {
    EXPECT_EQ(cut.prompts[i].id, cut_reversed.prompts[i].id);
  }
}

TEST(LimitTokens, TooSmall) {
  const Suite suite =
      parse("{\"id\":\"a\",\"input_ids\":[1,2,3]}\n{\"id\":\"b\",\"input_ids\":[1,2]}");
  EXPECT_THAT(error_text([&] { limit_tokens(suite, 1); }),
              StrEq("error[suite.limit-too-small]: the token limit is smaller than every prompt\n"
                    "  where:    suite s\n"
                    "  expected: a limit of 2 tokens or more   actual: 1\n"
                    "  hint:     prompts are taken whole: raise the limit"));
}

TEST(AllPrompts, OneSuiteKeepsItsIds) {
  const Suite suite = parse(R"({"id":"a","input_ids":[1]})");
  EXPECT_EQ(all_prompts({&suite, 1}).front().id, "a");
}

TEST(AllPrompts, SeveralSuitesQualifyIds) {
  std::vector<Suite> suites{parse(R"({"id":"a","input_ids":[1]})"),
                            parse_suite(R"({"id":"a","input_ids":[2]})", "t", "t.jsonl")};
  const auto prompts = all_prompts(suites);
  ASSERT_EQ(prompts.size(), 2U);
  EXPECT_EQ(prompts[0].id, "s/a");
  EXPECT_EQ(prompts[1].id, "t/a");
  suites[1].name = "s";
  EXPECT_THAT(error_text([&] { all_prompts(suites); }),
              StrEq("error[suite.duplicate-name]: two suites of this run have the same name\n"
                    "  where:    t.jsonl\n"
                    "  expected: a name for each suite   actual: \"s\" twice\n"
                    "  hint:     name the file itself differently, or give the suite once"));
}

TEST(WriteSuite, RoundTrip) {
  const std::string text =
      "{\"id\":\"a\",\"input_ids\":[1,2,3],\"completion\":2,\"tags\":[\"x\"],"
      "\"spans\":[{\"name\":\"n\",\"begin\":0,\"end\":2}]}\n"
      "{\"id\":\"b\",\"text\":\"h\\u00e9\"}\n"
      "{\"id\":\"c\",\"messages\":[{\"role\":\"user\"}],\"tools\":[1]}\n";
  const Suite suite = parse(text);
  const std::string written = write_suite(suite);
  EXPECT_EQ(write_suite(parse(written)), written);
  EXPECT_THAT(written, testing::StartsWith(text.substr(0, text.find('\n'))));
}

}  // namespace
}  // namespace mg
