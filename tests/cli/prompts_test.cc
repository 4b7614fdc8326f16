// mergegauge tokenize and mergegauge render, as a user runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/subprocess.h"

namespace mg {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const std::string kTestData = MG_TEST_DATA;
const std::string kSmol = kTestData + "/smollm2/files";

TEST(TokenizeCommand, GivesIdsAndTokensAndGoesBack) {
  const RunResult there =
      run_mergegauge({"tokenize", kSmol}, {.input = "{\"text\": \"Hello world\"}\n\n"
                                                    "{\"text\": \"\", \"special\": true}\n"});
  EXPECT_EQ(there.exit_code, 0) << there.err;
  EXPECT_EQ(there.out,
            "{\"ids\":[19556,905],\"tokens\":[\"Hello\",\"\u0120world\"]}\n"
            "{\"ids\":[],\"tokens\":[]}\n");
  const RunResult back =
      run_mergegauge({"tokenize", "--decode", kSmol},
                     {.input = "{\"ids\": [1, 19556, 905]}\n"
                               "{\"ids\": [1, 19556], \"skip_special\": true}\n"});
  EXPECT_EQ(back.out, "{\"text\":\"<|im_start|>Hello world\"}\n{\"text\":\"Hello\"}\n");
}

TEST(TokenizeCommand, NamesWhatIsWrongWithALine) {
  const RunResult run = run_mergegauge({"tokenize", kSmol}, {.input = "{\"txt\": 1}\n"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.err,
            "error[jsonl.bad-member]: a line's member \"text\" is missing or of the wrong type\n"
            "  where:    standard input\n"
            "  expected: {\"text\": \"...\"}\n");
}

TEST(TokenizeCommand, WantsAFolder) {
  const RunResult run = run_mergegauge({"tokenize", "no-such-folder"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_EQ(run.err,
            "error[file.not-a-folder]: the model is not a folder\n"
            "  where:    no-such-folder\n"
            "  expected: a folder as save_pretrained writes it   actual: nothing\n");
}

TEST(RenderCommand, RendersTheFoldersTemplate) {
  const RunResult run = run_mergegauge(
      {"render", kSmol},
      {.input =
           R"({"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": true})"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr(R"(<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"})"));
}

TEST(RenderCommand, AnErrorOfOneChatIsItsAnswer) {
  const RunResult run =
      run_mergegauge({"render", kSmol}, {.input = "{\"messages\": 3}\n{\"messages\": []}\n"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.out, testing::MatchesRegex("\\{\"error\":\"[^\n]*\\}\n[^\n]*\n"));
}

TEST(RenderCommand, TakesATemplateFileAndATime) {
  const std::string file = kTestData + "/chat_template/templates/dated_headers.jinja";
  const RunResult run = run_mergegauge({"render", "--template", file},
                                       {.input = R"({"messages": [], "now": "2024-07-26"})"});
  EXPECT_THAT(run.out, HasSubstr("26 Jul 2024")) << run.err;
}

TEST(SuitesCommand, ListsEverySuite) {
  const RunResult run = run_mergegauge({"suites"});
  EXPECT_EQ(run.exit_code, 0);
  for (const char* name :
       {"smoke", "language", "chat", "code", "numbers", "adversarial", "long", "vision"}) {
    EXPECT_THAT(run.out, HasSubstr("\n" + std::string(name) + " "));
  }
}

}  // namespace
}  // namespace mg
