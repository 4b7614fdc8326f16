// What scenarios expect of a text, and how suites write it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "kernels/core/error.h"
#include "suites/json_schema.h"
#include "suites/reader.h"
#include "suites/text_match.h"

namespace mg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(LastNumberTest, ReadsNumbersAsPeopleWriteThem) {
  EXPECT_EQ(last_number("no digits"), std::nullopt);
  EXPECT_EQ(last_number("from 3 to 7"), 7.0);
  EXPECT_EQ(last_number("costs 1,234.5 dollars."), 1234.5);
  EXPECT_EQ(last_number("1,2"), 2.0);  // a list, not thousands
  EXPECT_EQ(last_number("x = -4"), -4.0);
  EXPECT_EQ(last_number("-4"), -4.0);
  EXPECT_EQ(last_number("pages 3-4"), 4.0);
  EXPECT_EQ(last_number("6.02e23"), 6.02e23);
  EXPECT_EQ(last_number("7 eggs"), 7.0);
  EXPECT_EQ(last_number("It is 42."), 42.0);
}

TEST(UnmetTest, EveryPartMustHold) {
  Expectation expectation;
  expectation.exact = "Paris";
  EXPECT_THAT(unmet(expectation, " Paris\n"), IsEmpty());
  EXPECT_THAT(unmet(expectation, "Paris."), ElementsAre("is not exactly \"Paris\""));
  expectation = {};
  expectation.contains = {"a", "bc"};
  EXPECT_THAT(unmet(expectation, "xabcx"), IsEmpty());
  EXPECT_THAT(unmet(expectation, "acb"), ElementsAre("does not contain \"bc\""));
  expectation.regex = R"(\b\d{3}\b)";
  EXPECT_THAT(unmet(expectation, "abc 123"), IsEmpty());
  EXPECT_THAT(unmet(expectation, "abc 1234"), ElementsAre(R"(does not match /\b\d{3}\b/)"));
  expectation = {};
  expectation.number = 10;
  expectation.tolerance = 0.5;
  EXPECT_THAT(unmet(expectation, "about 10.5"), IsEmpty());
  EXPECT_THAT(unmet(expectation, "about 10.6"),
              ElementsAre("its last number is 10.6, not 10 within 0.5"));
  EXPECT_THAT(unmet(expectation, "ten"), ElementsAre("has no number"));
}

TEST(UnmetTest, JsonMayStandInAFence) {
  Expectation expectation;
  expectation.json_schema = R"({"type": "object", "required": ["name"]})";
  EXPECT_THAT(unmet(expectation, R"({"name": "x"})"), IsEmpty());
  EXPECT_THAT(unmet(expectation, "```json\n{\"name\": 1}\n```\n"), IsEmpty());
  EXPECT_THAT(unmet(expectation, "Here: {\"name\": 1}"), ElementsAre("is not JSON"));
  EXPECT_THAT(unmet(expectation, "{}"), ElementsAre("does not fit the schema: /: lacks \"name\""));
}

struct SchemaCase {
  const char* schema;
  const char* value;
  const char* misfit;  // null: it fits
};

TEST(JsonSchemaTest, KeywordsMeanWhatTheStandardSays) {
  const SchemaCase cases[] = {
      {"true", "1", nullptr},
      {"false", "1", "/: nothing may stand here"},
      {R"({"type": "integer"})", "3.0", nullptr},
      {R"({"type": "integer"})", "3.5", "/: not of type \"integer\""},
      {R"({"type": ["null", "string"]})", "null", nullptr},
      {R"({"enum": [1, "a"]})", "\"a\"", nullptr},
      {R"({"enum": [1, "a"]})", "\"b\"", "/: not one of [1,\"a\"]"},
      {R"({"const": {"a": 1}})", R"({"a": 1})", nullptr},
      {R"({"properties": {"a": {"type": "string"}}})", R"({"a": 1})", "/a: not of type \"string\""},
      {R"({"properties": {"a": {}}, "additionalProperties": false})", R"({"a": 1, "b": 2})",
       "/b: nothing may stand here"},
      {R"({"items": {"minimum": 0}})", "[1, -1]", "/1: below 0"},
      {R"({"minItems": 2, "maxItems": 2})", "[1]", "/: fewer items than 2"},
      {R"({"maxLength": 2})", "\"\u00e4\u00f6\"", nullptr},
      {R"({"minLength": 3})", "\"\u00e4\u00f6\"", "/: shorter than 3"},
      {R"({"pattern": "^a+$"})", "\"ab\"", "/: does not match \"^a+$\""},
      {R"({"exclusiveMaximum": 3})", "3", "/: not below 3"},
      {R"({"anyOf": [{"type": "null"}, {"minimum": 5}]})", "4", "/: fits none of anyOf"},
      {R"({"allOf": [{"minimum": 1}, {"maximum": 5}]})", "6", "/: above 5"},
      {R"({"minimum": 1})", "\"not a number\"", nullptr},
  };
  for (const SchemaCase& each : cases) {
    const auto schema = nlohmann::ordered_json::parse(each.schema);
    ASSERT_EQ(schema_fault(schema), std::nullopt) << each.schema;
    const auto misfit = schema_misfit(schema, nlohmann::ordered_json::parse(each.value));
    EXPECT_EQ(misfit.value_or("fits"), each.misfit == nullptr ? "fits" : each.misfit)
        << each.schema << " of " << each.value;
  }
}

TEST(JsonSchemaTest, WhatIsNotKnownIsAFault) {
  const auto fault = [](const char* schema) {
    return schema_fault(nlohmann::ordered_json::parse(schema)).value_or("none");
  };
  EXPECT_EQ(fault(R"({"properties": {"a": {"$ref": "#"}}})"),
            "/properties/a: the keyword \"$ref\" is not known here");
  EXPECT_EQ(fault(R"({"type": "float"})"), "/type: not a type of JSON");
  EXPECT_EQ(fault(R"({"anyOf": []})"), "/anyOf: not a list of schemas");
  EXPECT_EQ(fault("3"), "/: not a schema (an object or a boolean)");
}

std::string refusal(const std::string& expect) {
  try {
    parse_suite(R"({"id": "a", "text": "x", "expect": )" + expect + "}\n", "s", "s.jsonl");
  } catch (const Error& error) {
    return error.what();
  }
  return "taken";
}

TEST(SuiteExpectTest, IsReadInFull) {
  const Suite suite = parse_suite(
      R"({"id": "a", "text": "x", "expect": {"exact": "e", "contains": "c", "regex": "r", )"
      R"("json_schema": {"type": "null"}, "number": 3, "tolerance": 0.25}})",
      "s", "s.jsonl");
  const Expectation& expectation = *suite.prompts.front().expect;
  EXPECT_EQ(expectation.exact, "e");
  EXPECT_THAT(expectation.contains, ElementsAre("c"));
  EXPECT_EQ(expectation.regex, "r");
  EXPECT_EQ(expectation.json_schema, R"({"type":"null"})");
  EXPECT_EQ(expectation.number, 3.0);
  EXPECT_EQ(expectation.tolerance, 0.25);
}

TEST(SuiteExpectTest, NamesWhatIsWrong) {
  EXPECT_THAT(refusal("{}"), HasSubstr("suite.wrong-type"));
  EXPECT_THAT(refusal(R"({"exactly": "x"})"),
              HasSubstr("expected: exact, contains, regex, json_schema, number, tolerance"));
  EXPECT_THAT(refusal(R"({"regex": "("})"), HasSubstr("a regular expression ("));
  EXPECT_THAT(refusal(R"({"contains": []})"), HasSubstr("a string that is not empty"));
  EXPECT_THAT(refusal(R"({"tolerance": 1})"), HasSubstr("\"number\" beside \"tolerance\""));
  EXPECT_THAT(refusal(R"({"number": 1, "tolerance": -1})"), HasSubstr("a number, 0 or more"));
  EXPECT_THAT(refusal(R"({"json_schema": {"oneOf": []}})"),
              HasSubstr("the keyword \"oneOf\" is not known here"));
}

}  // namespace
}  // namespace mg
