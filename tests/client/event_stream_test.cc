#include "harness/client/event_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mg {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> events_of(const std::vector<std::string>& pieces) {
  EventStream stream;
  std::vector<std::string> events;
  for (const std::string& piece : pieces) {
    stream.feed(piece, [&](std::string_view data) { events.emplace_back(data); });
  }
  return events;
}

// The examples of the standard's section 9.2.6, and what else it says.
TEST(EventStreamTest, ReadsWhatTheStandardSays) {
  EXPECT_THAT(events_of({"data: a\n\ndata:b\n\n"}), ElementsAre("a", "b"));
  EXPECT_THAT(events_of({"data: YHOO\ndata: +2\ndata: 10\n\n"}), ElementsAre("YHOO\n+2\n10"));
  EXPECT_THAT(
      events_of({": test stream\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n"}),
      ElementsAre("first", "second", " third"));
  EXPECT_THAT(events_of({"data\n\ndata\ndata\n\ndata:"}), ElementsAre("", "\n"));
  EXPECT_THAT(events_of({"\xEF\xBB\xBF"
                         "data: a\r\rdata: b\r\n\r\n"}),
              ElementsAre("a", "b"));
  EXPECT_THAT(events_of({"datum: a\nevent: x\n\n"}), IsEmpty());
}

TEST(EventStreamTest, AnEventWithoutItsEmptyLineIsNone) {
  EXPECT_THAT(events_of({"data: a\n\ndata: b\n"}), ElementsAre("a"));
  EXPECT_THAT(events_of({"data: a"}), IsEmpty());
}

TEST(EventStreamTest, CutsChangeNothing) {
  const std::string text =
      ": ping\r\n\r\ndata: {\"a\": \"\xC3\xBC\"}\r\ndata: more\r\n\r\ndata: b\n\nid: 3\rdata:c\r\r";
  const std::vector<std::string> whole = events_of({text});
  ASSERT_EQ(whole.size(), 3U);
  for (std::size_t first = 0; first <= text.size(); ++first) {
    for (std::size_t second = first; second <= text.size(); ++second) {
      ASSERT_EQ(events_of({text.substr(0, first), text.substr(first, second - first),
                           text.substr(second)}),
                whole)
          << first << " " << second;
    }
  }
}

}  // namespace
}  // namespace mg
