// The type that keeps text from becoming tags.
#include "reports/html/markup.h"

#include <gtest/gtest.h>

#include <concepts>
#include <limits>
#include <string>

#include "kernels/core/error.h"

namespace mg::html {
namespace {

template <typename Text>
concept Appendable = requires(Markup markup, Text text) {
  markup += text;
};

// There is no way into a Markup for text but through a template's places.
static_assert(!std::constructible_from<Markup, std::string>);
static_assert(!std::constructible_from<Markup, std::string_view>);
static_assert(!std::constructible_from<Markup, const char*>);
static_assert(!Appendable<std::string>);
static_assert(!Appendable<const char*>);
static_assert(Appendable<Markup>);

TEST(Markup, TextIsEscapedAndMarkupIsNot) {
  const std::string name = "<script>alert('1' & \"2\")</script>";
  const Markup bold = markup("<b>{}</b>", name);
  EXPECT_EQ(bold.text(),
            "<b>&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;</b>");
  EXPECT_EQ(markup("<p title=\"{}\">{}</p>", name, bold).text(),
            "<p title=\"&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)&lt;/script&gt;\">" +
                bold.text() + "</p>");
}

TEST(Markup, BracesInTextArePlain) {
  EXPECT_EQ(markup("<i>{}</i>", "{} {0} {{").text(), "<i>{} {0} {{</i>");
}

TEST(Markup, ControlsMarksOfDirectionAndBrokenUtf8BecomeVisible) {
  EXPECT_EQ(escape(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(escape("a\x1b[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(escape("\xE2\x80\xAE"
                   "abc"),
            "\\u202eabc");
  EXPECT_EQ(escape("\xFF"), "\xEF\xBF\xBD");
}

TEST(Markup, CoordinatesAreShortAndNeverExponents) {
  EXPECT_EQ(markup("{} {} {} {}", 1.0, 0.126, -0.001, 1234567.0).text(), "1 0.13 0 1234567");
  EXPECT_THROW(coordinate(std::numeric_limits<double>::quiet_NaN()), Error);
  EXPECT_THROW(coordinate(std::numeric_limits<double>::infinity()), Error);
}

}  // namespace
}  // namespace mg::html
