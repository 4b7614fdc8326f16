#include "suites/plain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suites/load.h"
#include "suites/reader.h"
#include "tests/suites/expect_error.h"

namespace mg {
namespace {

using testing::ElementsAre;
using testing::StrEq;

std::vector<std::string> texts(const Suite& suite) {
  std::vector<std::string> out;
  for (const SuitePrompt& prompt : suite.prompts) {
    out.push_back(prompt.id + "=" + prompt.text.value_or("?"));
  }
  return out;
}

TEST(TextSuite, APromptAParagraph) {
  EXPECT_THAT(texts(parse_text_suite("\xEF\xBB\xBFone\r\ntwo\r\n\r\n \t\n  three\n", "n", "n.txt")),
              ElementsAre("line-1=one\ntwo", "line-5=  three"));
  EXPECT_THAT(error_text([] { parse_text_suite("\n \n", "n", "n.txt"); }),
              StrEq("error[suite.empty]: the suite has no prompt\n"
                    "  where:    n.txt\n"
                    "  expected: at least one line that is not empty   actual: none"));
}

TEST(CsvSuite, APromptARowOfAColumn) {
  const char* table =
      "id,text,n\r\n"
      "1,plain,2\r\n"
      "2,\"a, \"\"quoted\"\" one\nin two lines\",3\r\n"
      "\r\n"
      "3,,4\n";
  EXPECT_THAT(texts(parse_csv_suite(table, "t", "t.csv", "text")),
              ElementsAre("row-1=plain", "row-2=a, \"quoted\" one\nin two lines", "row-4="));
  EXPECT_THAT(texts(parse_csv_suite("only\nx\ny", "t", "t.csv", "")),
              ElementsAre("row-1=x", "row-2=y"));
}

TEST(CsvSuite, NamesWhatIsWrong) {
  EXPECT_THAT(error_text([] { parse_csv_suite("a,b\n1,2\n", "t", "t.csv", "c"); }),
              StrEq("error[suite.no-column]: the table has no such column\n"
                    "  where:    t.csv\n"
                    "  expected: one of: a, b   actual: c\n"
                    "  hint:     --suite t.csv:COLUMN"));
  EXPECT_THAT(error_text([] { parse_csv_suite("a,b\n1,2\n", "t", "t.csv", ""); }),
              testing::StartsWith("error[suite.no-column]: the table has several columns"));
  EXPECT_THAT(error_text([] { parse_csv_suite("a,b\n1,2\n\"x\ny\",2,3\n", "t", "t.csv", "a"); }),
              StrEq("error[suite.csv]: a row has another number of fields than the row of names\n"
                    "  where:    t.csv, line 3\n"
                    "  expected: 2 fields   actual: 3"));
  EXPECT_THAT(error_text([] { parse_csv_suite("a\n\"x\n", "t", "t.csv", "a"); }),
              testing::StartsWith("error[suite.csv]: a quoted field is not closed"));
  EXPECT_THAT(error_text([] { parse_csv_suite("a\n\"x\"y\n", "t", "t.csv", "a"); }),
              testing::StartsWith("error[suite.csv]: a quoted field goes on"));
  EXPECT_THAT(error_text([] { parse_csv_suite("a\n", "t", "t.csv", "a"); }),
              testing::StartsWith("error[suite.empty]"));
}

}  // namespace
}  // namespace mg
