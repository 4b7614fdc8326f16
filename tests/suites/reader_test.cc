#include "suites/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/suites/expect_error.h"

namespace mg {
namespace {

using testing::ElementsAre;
using testing::StrEq;

Suite read_suite(std::string_view text) {
  return parse_suite(text, "s", "dir/s.jsonl");
}

std::string parse_error(std::string_view text) {
  return error_text([&] { read_suite(text); });
}

TEST(ReadSuite, PlainPrompts) {
  const Suite suite =
      read_suite("{\"id\": \"p0\", \"input_ids\": [1, 2, 3]}\n{\"id\":\"p1\",\"input_ids\":[7]}");
  EXPECT_EQ(suite.name, "s");
  ASSERT_EQ(suite.prompts.size(), 2U);
  EXPECT_EQ(suite.prompts[0].id, "p0");
  EXPECT_THAT(suite.prompts[0].input_ids, ElementsAre(1, 2, 3));
  EXPECT_EQ(suite.prompts[0].scored_rows(), (TokenRange{0, 3}));
  EXPECT_EQ(suite.prompts[0].likelihood_rows(), (TokenRange{0, 2}));
  EXPECT_EQ(suite.prompts[0].line, 1);
  EXPECT_EQ(suite.prompts[1].line, 2);
  EXPECT_EQ(suite.total_tokens(), 4);
  EXPECT_EQ(suite.scored_tokens(), 2);
}

TEST(ReadSuite, DigestIsTheFilesSha256) {
  // printf '{"id":"a","input_ids":[1]}\n' | sha256sum
  EXPECT_EQ(read_suite("{\"id\":\"a\",\"input_ids\":[1]}\n").digest,
            "sha256:2b62cc1d16cae20d4add917bcb61eaaca4c12f6b7ff29d85284080e308006cf9");
}

TEST(ReadSuite, ByteOrderMarkBlankLinesAndCarriageReturnsKeepLineNumbers) {
  const Suite suite = read_suite(
      "\xEF\xBB\xBF\r\n{\"id\":\"a\",\"input_ids\":[1]}\r\n\r\n "
      "\t\n{\"id\":\"b\",\"input_ids\":[2]}");
  ASSERT_EQ(suite.prompts.size(), 2U);
  EXPECT_EQ(suite.prompts[0].line, 2);
  EXPECT_EQ(suite.prompts[1].line, 5);
}

TEST(ReadSuite, CompletionAsIdsIsAppendedAndScoredAlone) {
  const Suite suite = read_suite(R"({"id":"a","input_ids":[1,2,3],"completion":[4,5]})");
  EXPECT_THAT(suite.prompts[0].input_ids, ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(suite.prompts[0].scored_begin, 3);
  // Row 2 predicts token 3, the first of the completion; row 4 is the last, without a next token.
  EXPECT_EQ(suite.prompts[0].scored_rows(), (TokenRange{2, 5}));
  EXPECT_EQ(suite.prompts[0].likelihood_rows(), (TokenRange{2, 4}));
  EXPECT_EQ(suite.scored_tokens(), 2);
}

TEST(ReadSuite, CompletionAsIndexEqualsCompletionAsIds) {
  const Suite index = read_suite(R"({"id":"a","input_ids":[1,2,3,4,5],"completion":3})");
  const Suite ids = read_suite(R"({"id":"a","input_ids":[1,2,3],"completion":[4,5]})");
  EXPECT_EQ(index.prompts[0].input_ids, ids.prompts[0].input_ids);
  EXPECT_EQ(index.prompts[0].scored_begin, ids.prompts[0].scored_begin);
}

TEST(ReadSuite, TagsAndSpans) {
  const Suite suite = read_suite(
      R"({"id":"a","input_ids":[1,2,3],"tags":["x","y","x"],"spans":[{"name":"answer","begin":1,"end":3}]})");
  EXPECT_THAT(suite.prompts[0].tags, ElementsAre("x", "y"));
  EXPECT_THAT(suite.prompts[0].spans, ElementsAre(TokenSpan{"answer", {1, 3}}));
}

TEST(ReadSuite, ImagesAreResolvedAgainstTheFolder) {
  const Suite suite = read_suite(
      R"({"id":"a","input_ids":[1],"image_grid_thw":[[1,4,6]],"pixel_values":{"file":"p.safetensors","tensor":"t"}})");
  ASSERT_TRUE(suite.prompts[0].pixel_values.has_value());
  EXPECT_EQ(suite.prompts[0].pixel_values->file, "dir/p.safetensors");
  EXPECT_EQ(suite.prompts[0].pixel_values->tensor, "t");
  EXPECT_THAT(suite.prompts[0].image_grid_thw, ElementsAre(ElementsAre(1, 4, 6)));
}

TEST(ReadSuite, TextAndMessagesAreKept) {
  const Suite suite = read_suite(
      "{\"id\":\"a\",\"text\":\"hello\"}\n"
      "{\"id\":\"b\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[]}\n");
  EXPECT_EQ(suite.prompts[0].text, "hello");
  EXPECT_EQ(suite.prompts[1].messages, R"([{"role":"user","content":"hi"}])");
  EXPECT_EQ(suite.prompts[1].tools, "[]");
  EXPECT_TRUE(suite.prompts[0].input_ids.empty());
}

TEST(ReadSuite, EveryGoldenSuiteParses) {
  for (const char* name : {"qwen2", "qwen2-vl", "gpt2-conv1d"}) {
    const Suite suite =
        read_suite_file(std::string(MG_TEST_DATA) + "/golden/" + name + "/inputs.jsonl");
    EXPECT_GE(suite.prompts.size(), 3U) << name;
    EXPECT_EQ(suite.name, "inputs");
  }
}

TEST(ReadSuiteErrors, BadJson) {
  EXPECT_THAT(parse_error("{\"id\":\"a\",\"input_ids\":[1]}\n{\"id\": \n"),
              StrEq("error[suite.json]: a line is not valid JSON\n"
                    "  where:    dir/s.jsonl, line 2\n"
                    "  expected: one JSON object a line   actual: an error at byte 7 of the line\n"
                    "  hint:     a prompt must stand on one line; line breaks inside a text are "
                    "written \\n"));
  EXPECT_THAT(parse_error("[1, 2]"),
              StrEq("error[suite.json]: a line is not a JSON object\n"
                    "  where:    dir/s.jsonl, line 1\n"
                    "  expected: {\"id\": ..., \"input_ids\": [...]}   actual: [1,2]"));
  EXPECT_THAT(parse_error(R"({"id":"a","input_ids":[1],"id":"b"})"),
              StrEq("error[suite.json]: a line repeats a key\n"
                    "  where:    dir/s.jsonl, line 1\n"
                    "  expected: each key once   actual: \"id\" twice"));
}

TEST(ReadSuite, KeepsTheOrderOfKeysThatTemplatesWrite) {
  const SuitePrompt prompt =
      read_suite(R"({"id":"a","messages":[{"role":"user","content":"x"}],"tools":[{"z":1,"a":2}],)"
                 R"("chat_template_kwargs":{"thinking":true},"now":"2024-02-29"})")
          .prompts.front();
  EXPECT_EQ(prompt.messages, R"([{"role":"user","content":"x"}])");
  EXPECT_EQ(prompt.tools, R"([{"z":1,"a":2}])");
  EXPECT_EQ(prompt.template_variables, R"({"thinking":true})");
  EXPECT_EQ(prompt.now, "2024-02-29");
}

TEST(ReadSuite, TakesAnEmptyText) {
  EXPECT_EQ(read_suite(R"({"id":"a","text":""})").prompts.front().text, "");
}

TEST(ReadSuiteErrors, InvalidUtf8IsBadJson) {
  EXPECT_THAT(parse_error("{\"id\":\"\xFF\",\"input_ids\":[1]}"),
              testing::StartsWith("error[suite.json]: a line is not valid JSON\n"));
}

TEST(ReadSuiteErrors, UnknownKey) {
  EXPECT_THAT(parse_error(R"({"id":"a","input_id":[1]})"),
              StrEq("error[suite.unknown-key]: a prompt has a key that suites do not have\n"
                    "  where:    dir/s.jsonl, line 1\n"
                    "  expected: id, input_ids, text, messages, tools, "
                    "chat_template_kwargs, now, tags, spans, pixel_values, image_grid_thw, "
                    "pixel_values_videos, video_grid_thw, second_per_grid_ts, expect, "
                    "completion   actual: \"input_id\""));
}

TEST(ReadSuiteErrors, MissingKeys) {
  EXPECT_THAT(parse_error(R"({"input_ids":[1]})"),
              StrEq("error[suite.missing-key]: a prompt has no id\n"
                    "  where:    dir/s.jsonl, line 1\n"
                    "  expected: \"id\": a name unique in the suite   actual: no \"id\""));
  EXPECT_THAT(parse_error(R"({"id":"a"})"),
              StrEq("error[suite.missing-key]: a prompt needs one source of tokens\n"
                    "  where:    dir/s.jsonl, line 1\n"
                    "  expected: one of input_ids, text, messages   actual: none"));
  EXPECT_THAT(parse_error(R"({"id":"a","text":"x","input_ids":[1]})"),
              StrEq("error[suite.missing-key]: a prompt needs one source of tokens\n"
                    "  where:    dir/s.jsonl, line 1\n"
                    "  expected: one of input_ids, text, messages   actual: input_ids, text"));
  EXPECT_THAT(parse_error(R"({"id":"a","input_ids":[1],"image_grid_thw":[[1,2,2]]})"),
              StrEq("error[suite.missing-key]: a prompt with images needs both keys of an image\n"
                    "  where:    dir/s.jsonl, line 1\n"
                    "  expected: pixel_values and image_grid_thw   actual: image_grid_thw"));
  EXPECT_THAT(parse_error(R"({"id":"a","input_ids":[1],"tools":[]})"),
              StrEq("error[suite.missing-key]: \"tools\" stands without messages\n"
                    "  where:    dir/s.jsonl, line 1\n"
                    "  expected: \"messages\" beside \"tools\"   actual: no \"messages\""));
  EXPECT_THAT(
      parse_error(R"({"id":"a","text":"x","completion":1})"),
      StrEq(
          "error[suite.missing-key]: \"completion\" is given in tokens, so the prompt must be too\n"
          "  where:    dir/s.jsonl, line 1\n"
          "  expected: \"input_ids\" beside \"completion\"   actual: no \"input_ids\""));
  EXPECT_THAT(
      parse_error(R"({"id":"a","text":"x","spans":[]})"),
      StrEq("error[suite.missing-key]: \"spans\" are given in tokens, so the prompt must be too\n"
            "  where:    dir/s.jsonl, line 1\n"
            "  expected: \"input_ids\" beside \"spans\"   actual: no \"input_ids\""));
}

TEST(ReadSuiteErrors, WrongTypes) {
  EXPECT_THAT(
      parse_error(R"({"id":"a","input_ids":[1,-2]})"),
      StrEq(
          "error[suite.wrong-type]: \"input_ids\" is not what a suite holds there\n"
          "  where:    dir/s.jsonl, line 1\n"
          "  expected: a list, not empty, of whole numbers from 0 to 2147483647   actual: [1,-2]"));
  const std::vector<std::string> bad_values{
      R"({"id":"","input_ids":[1]})",
      R"({"id":3,"input_ids":[1]})",
      R"({"id":"a","input_ids":[]})",
      R"({"id":"a","input_ids":[1.0]})",
      R"({"id":"a","input_ids":[true]})",
      R"({"id":"a","input_ids":[2147483648]})",
      R"({"id":"a","input_ids":"1 2"})",
      R"({"id":"a","text":7})",
      R"({"id":"a","messages":[{}],"chat_template_kwargs":[]})",
      R"({"id":"a","messages":[{}],"now":20240726})",
      R"({"id":"a","messages":[]})",
      R"({"id":"a","messages":[{}],"tools":{}})",
      R"({"id":"a","input_ids":[1,2],"completion":"x"})",
      R"({"id":"a","input_ids":[1,2],"completion":[]})",
      R"({"id":"a","input_ids":[1],"tags":"x"})",
      R"({"id":"a","input_ids":[1],"tags":[""]})",
      R"({"id":"a","input_ids":[1],"spans":{}})",
      R"({"id":"a","input_ids":[1],"spans":[{"name":"n","begin":0}]})",
      R"({"id":"a","input_ids":[1],"spans":[{"name":"","begin":0,"end":1}]})",
      R"({"id":"a","input_ids":[1],"spans":[{"name":"n","begin":0.5,"end":1}]})",
      R"({"id":"a","input_ids":[1],"image_grid_thw":[[1,2]],"pixel_values":{"file":"f","tensor":"t"}})",
      R"({"id":"a","input_ids":[1],"image_grid_thw":[[1,2,0]],"pixel_values":{"file":"f","tensor":"t"}})",
      R"({"id":"a","input_ids":[1],"image_grid_thw":[[1,2,2]],"pixel_values":{"file":"f"}})",
      R"({"id":"a","input_ids":[1],"image_grid_thw":[[1,2,2]],"pixel_values":{"file":"","tensor":"t"}})",
  };
  for (const std::string& text : bad_values) {
    EXPECT_THAT(parse_error(text), testing::StartsWith("error[suite.wrong-type]: ")) << text;
  }
}

TEST(ReadSuiteErrors, OutOfPrompt) {
  EXPECT_THAT(
      parse_error(R"({"id":"a","input_ids":[1,2,3],"completion":3})"),
      StrEq("error[suite.out-of-prompt]: \"completion\" does not begin inside the prompt\n"
            "  where:    dir/s.jsonl, line 1\n"
            "  expected: an index from 1 to 2   actual: 3\n"
            "  hint:     the first token has no prediction, so a completion begins at index "
            "1 or later"));
  EXPECT_THAT(parse_error(R"({"id":"a","input_ids":[1,2,3],"completion":0})"),
              testing::StartsWith("error[suite.out-of-prompt]: "));
  EXPECT_THAT(
      parse_error(R"({"id":"a","input_ids":[1,2],"spans":[{"name":"n","begin":1,"end":3}]})"),
      StrEq("error[suite.out-of-prompt]: the span \"n\" does not lie inside the prompt\n"
            "  where:    dir/s.jsonl, line 1\n"
            "  expected: 0 <= begin < end <= 2   actual: begin 1, end 3"));
}

TEST(ReadSuiteErrors, SpansMayLieInTheAppendedCompletion) {
  const Suite suite = read_suite(
      R"({"id":"a","input_ids":[1,2],"completion":[3],"spans":[{"name":"n","begin":2,"end":3}]})");
  EXPECT_EQ(suite.prompts[0].spans.size(), 1U);
}

TEST(ReadSuiteErrors, DuplicateIds) {
  EXPECT_THAT(parse_error("{\"id\":\"a\",\"input_ids\":[1]}\n{\"id\":\"b\",\"input_ids\":[1]}\n{"
                          "\"id\":\"a\",\"input_ids\":[2]}\n"),
              StrEq("error[suite.duplicate-id]: two prompts have the same id\n"
                    "  where:    dir/s.jsonl, line 3\n"
                    "  expected: each id once   actual: \"a\", already on line 1\n"
                    "  hint:     results are stored under the id"));
}

TEST(ReadSuiteErrors, Empty) {
  for (const char* text : {"", "\n\n  \r\n", "\xEF\xBB\xBF"}) {
    EXPECT_THAT(
        parse_error(text),
        StrEq("error[suite.empty]: the suite has no prompt\n"
              "  where:    dir/s.jsonl\n"
              "  expected: at least one line {\"id\": ..., \"input_ids\": [...]}   actual: none"));
  }
}

TEST(ReadSuiteErrors, ProblemsOfOneKindAreReportedTogether) {
  std::string text;
  for (int i = 0; i < 9; ++i) {
    text += "{\"id\":\"a\",\"ids\":[1],\"text\":\"x\"}\n";
  }
  EXPECT_THAT(
      parse_error(text),
      testing::HasSubstr("where:    dir/s.jsonl, line 1; also lines 2, 3, 4, 5, 6 and 3 more\n"));
}

TEST(ReadSuiteErrors, LongValuesAreCutAtACharacter) {
  // 57 bytes fit after the quote and two of "é" would end at byte 60: the cut falls inside the last
  // one.
  std::string ids = "\"" + std::string(58, 'x') + "\xC3\xA9\xC3\xA9\"";
  EXPECT_THAT(parse_error("{\"id\":\"a\",\"input_ids\":" + ids + "}"),
              testing::EndsWith("actual: \"" + std::string(58, 'x') + "..."));
}

TEST(ReadSuiteErrors, UnreadableFile) {
  EXPECT_THAT(error_text([] { read_suite_file("no/such.jsonl"); }),
              StrEq("error[suite.unreadable]: the suite's file cannot be read\n"
                    "  where:    no/such.jsonl\n"
                    "  expected: a readable file   actual: no regular file there"));
}

}  // namespace
}  // namespace mg
