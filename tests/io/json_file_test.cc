#include "harness/io/json_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/io/temp_folder.h"

namespace mg {
namespace {

std::string parse_error(std::string_view text) {
  const TempFolder folder;
  return folder.error_of([&] { parse_json(text, "config.json"); });
}

TEST(JsonFile, ReadsWhatPythonWrites) {
  const nlohmann::json value = parse_json(
      R"({"a": NaN, "b": [Infinity, -Infinity, 0.0], "c": "NaN, \"Infinity\"", "d": 0E0, "e": -1e-3})",
      "x");
  EXPECT_TRUE(std::isnan(value["a"].get<double>()));
  EXPECT_EQ(value["b"][0].get<double>(), HUGE_VAL);
  EXPECT_EQ(value["b"][1].get<double>(), -HUGE_VAL);
  EXPECT_EQ(value["c"], "NaN, \"Infinity\"");
  EXPECT_EQ(value["d"], 0.0);  // the spelling that stands in for NaN inside
  EXPECT_EQ(value["e"], -1e-3);
  EXPECT_EQ(parse_json("[0E000000,-0E000000]", "x"), parse_json("[0.0,-0.0]", "x"));
}

TEST(JsonFile, OrderedKeysStayInTheFilesOrder) {
  const nlohmann::ordered_json value =
      parse_ordered_json(R"({"b": 1, "a": {"z": 1, "y": 2}})", "x");
  EXPECT_EQ(value.dump(), R"({"b":1,"a":{"z":1,"y":2}})");
}

TEST(JsonFile, NamesLineAndColumnOfASyntaxError) {
  EXPECT_EQ(parse_error("{\n  \"a\": 1,\n  \"b\": }\n"),
            "error[json.syntax]: the file is not valid JSON\n"
            "  where:    config.json, line 3, column 8\n"
            "  actual:   while parsing value - unexpected '}'; expected '[', '{', or a literal");
  EXPECT_EQ(parse_error("{\"a\": Infinity, \"b\": NaN, \"c\": nan}"),
            "error[json.syntax]: the file is not valid JSON\n"
            "  where:    config.json, line 1, column 33\n"
            "  actual:   while parsing value - invalid literal; last read: '\"c\": na'");
}

TEST(JsonFile, RefusesWhatReadersDisagreeOn) {
  EXPECT_EQ(parse_error(R"({"a": {"b": [1, {"c": 1, "c": 2}]}})"),
            "error[json.duplicate-key]: the key \"c\" is given twice in one object\n"
            "  where:    config.json, a.b[1].c\n"
            "  hint:     readers differ in which of the two they take: delete one");
  EXPECT_EQ(
      parse_error("\xEF\xBB\xBF{}"),
      "error[json.byte-order-mark]: the file starts with a byte order mark\n"
      "  where:    config.json\n"
      "  expected: {   actual: EF BB BF\n"
      "  hint:     Python's json module refuses it as well: save the file as UTF-8 without BOM");
  EXPECT_EQ(parse_error(std::string_view("{}\0", 3)),
            "error[json.syntax]: the file is not valid JSON\n"
            "  where:    config.json, line 1, column 3\n"
            "  actual:   a NUL byte");
  EXPECT_EQ(parse_error("{\"a\": \"\xE9\"}"),
            "error[json.encoding]: the file is not valid UTF-8\n"
            "  where:    config.json, line 1, column 9\n"
            "  actual:   while parsing value - invalid string: ill-formed UTF-8 byte; "
            "last read: '\"\xE9\"'");
  EXPECT_EQ(parse_error(std::string(300, '[')),
            "error[json.too-deep]: objects and lists are nested too deeply\n"
            "  where:    config.json\n"
            "  expected: at most 256 levels");
}

TEST(JsonFile, RefusesTextAfterTheEnd) {
  EXPECT_EQ(parse_error("{} {}"),
            "error[json.syntax]: the file is not valid JSON\n"
            "  where:    config.json, line 1, column 4\n"
            "  actual:   while parsing value - unexpected '{'; expected end of input");
  EXPECT_EQ(
      parse_error(""),
      "error[json.syntax]: the file is not valid JSON\n"
      "  where:    config.json, line 1, column 1\n"
      "  actual:   while parsing value - unexpected end of input; expected '[', '{', or a literal");
}

TEST(JsonFile, NumbersOutOfRangeAreErrorsNotInfinity) {
  EXPECT_EQ(parse_error("[1e400]"),
            "error[json.syntax]: the file is not valid JSON\n"
            "  where:    config.json, line 1, column 6\n"
            "  actual:   number overflow parsing '1e400'");
}

}  // namespace
}  // namespace mg
