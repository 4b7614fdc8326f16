// Faults of templates: what is said, and that nothing a template does takes the process down.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "harness/io/chat_template/chat_template.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

std::string result_of(std::string_view source, const char* variables = "{}") {
  try {
    return ChatTemplate::parse(source, "t.jinja")
        .render(nlohmann::ordered_json::parse(variables), std::nullopt)
        .text;
  } catch (const Error& error) {
    return error.what();
  }
}

std::string code_of(std::string_view source, const char* variables = "{}") {
  const std::string text = result_of(source, variables);
  return text.starts_with("error[") ? text.substr(6, text.find(']') - 6) : "none: " + text;
}

TEST(Errors, NameTheLine) {
  EXPECT_EQ(result_of("a\nb\n{{ raise_exception('no ' ~ 1) }}"),
            "error[chat_template.raised]: no 1\n  where:    t.jinja, line 3");
  EXPECT_EQ(result_of("{% for m in messages %}\n\n{{ m.role.upper.x + 1 }}{% endfor %}",
                      R"({"messages": [{"role": "u"}]})"),
            "error[chat_template.undefined]: 'function object' has no attribute 'x'\n"
            "  where:    t.jinja, line 3");
  EXPECT_EQ(result_of("{{ missing.role }}"),
            "error[chat_template.undefined]: 'missing' is undefined\n  where:    t.jinja, line 1");
  EXPECT_EQ(result_of("{{ 'a' + 1 }}"),
            "error[chat_template.type]: can only concatenate str (not \"int\") to str\n"
            "  where:    t.jinja, line 1");
  EXPECT_EQ(result_of("\n{% if x %}"),
            "error[chat_template.syntax]: the template ends before {% endif %}\n"
            "  where:    t.jinja, line 2");
  EXPECT_EQ(result_of("{% include 'x' %}"),
            "error[chat_template.unsupported]: the tag {% include %} is not supported in chat "
            "templates\n  where:    t.jinja, line 1");
  EXPECT_EQ(
      result_of("{{ 1 | nosuch }}"),
      "error[chat_template.unsupported]: no filter named 'nosuch'\n  where:    t.jinja, line 1");
  EXPECT_EQ(
      result_of("{{ 1 is nosuch }}"),
      "error[chat_template.unsupported]: no test named 'nosuch'\n  where:    t.jinja, line 1");
  EXPECT_EQ(result_of("{{ strftime_now('%Y') }}"),
            "error[chat_template.no-time]: the template asks for the time, and none was given\n"
            "  where:    t.jinja, line 1");
}

TEST(Errors, Syntax) {
  for (const char* source : {"{{ a",
                             "{{ }}",
                             "{% %}",
                             "{% nosuch %}",
                             "{% if %}{% endif %}",
                             "{% for x %}{% endfor %}",
                             "{% endif %}",
                             "{{ 'a }}",
                             "{{ a b }}",
                             "{{ (1 }}",
                             "{{ [1 }}",
                             "{{ {1} }}",
                             "{# a",
                             "{% raw %}",
                             "{% set 1 = 2 %}",
                             "{% set true = 2 %}",
                             "{% break %}",
                             "{{ f(a=1, 2) }}",
                             "{% macro f(a=1, b) %}{% endmacro %}",
                             "{% call x %}{% endcall %}",
                             "{{ a ! b }}",
                             "{{ ) }}",
                             "{{ '\\x1' }}",
                             "{{ 99999999999999999999 }}",
                             "{% for x in y %}{% generation %}{% break %}"
                             "{% endgeneration %}{% endfor %}",
                             "\xFF"}) {
    EXPECT_EQ(code_of(source), "chat_template.syntax") << source;
  }
}

TEST(Sandbox, WithholdsWhatJinjasWithholds) {
  EXPECT_EQ(code_of("{{ [].append(1) }}"), "chat_template.security");
  EXPECT_EQ(code_of("{{ {}.update({}) }}"), "chat_template.security");
  EXPECT_EQ(code_of("{{ x.pop('a') }}", R"({"x": {"a": 1}})"), "chat_template.security");
  EXPECT_EQ(code_of("{{ ''.__class__.__mro__ }}"), "chat_template.security");
  EXPECT_EQ(code_of("{% set ns = namespace() %}{% set ns._x = 1 %}"), "chat_template.security");
  EXPECT_EQ(result_of("{{ [].append }}{{ ''.__class__ }}"), "");   // naming them is allowed
  EXPECT_EQ(result_of("{{ x._y }}", R"({"x": {"_y": 1}})"), "1");  // a key is no attribute
}

TEST(Limits, BoundStepsMemoryAndDepth) {
  for (const char* source :
       {"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set x = 'a' * 10000000000 %}", "{% set x = [1] * 10000000000 %}", "{{ range(100001) }}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(1000) %}{% set ns.x = ns.x + ns.x "
        "%}"
        "{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}"
        "{{ ns.x | tojson }}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "{{ 'a'.center(100000000000) }}",
        "{{ '%999999d' % 1 }}", "{{ '{:999999}'.format(1) }}",
        "{% for x in [[]] recursive %}{{ loop([[]]) }}{% endfor %}"}) {
    EXPECT_EQ(code_of(source), "chat_template.limit") << source;
  }
  std::string deep;
  for (int i = 0; i < 100000; ++i) {
    deep += "(";
  }
  EXPECT_EQ(code_of("{{ " + deep + " }}"), "chat_template.syntax");
  std::string nots = "{{ ";
  for (int i = 0; i < 100000; ++i) {
    nots += "not ";
  }
  EXPECT_EQ(code_of(nots + "1 }}"), "chat_template.syntax");
  EXPECT_EQ(code_of("{{ 9223372036854775807 + 1 }}"), "chat_template.unsupported");
}

TEST(Time, IsReadAndShown) {
  const ChatTemplate source =
      ChatTemplate::parse("{{ strftime_now('%d %b %Y %H:%M:%S %A %j %f%%%z') }}", "t");
  const auto at = [&](const char* now) {
    return source.render(nlohmann::ordered_json::object(), ChatTime::parse(now)).text;
  };
  EXPECT_EQ(at("2024-02-29"), "29 Feb 2024 00:00:00 Thursday 060 000000%");
  EXPECT_EQ(at("2024-07-26 12:34"), "26 Jul 2024 12:34:00 Friday 208 000000%");
  EXPECT_EQ(at("2024-07-26T12:34:56"), "26 Jul 2024 12:34:56 Friday 208 000000%");
  for (const char* bad : {"", "2024", "2023-02-29", "2024-13-01", "2024-07-26T", "2024-07-26T25:00",
                          "2024-07-26T12:34:56Z", "24-07-26"}) {
    EXPECT_THROW(ChatTime::parse(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace mg
