// Recorded renderings by jinja2 set up as transformers does (reference/make_expected.py).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "harness/io/chat_template/chat_template.h"
#include "harness/io/json_file.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(MG_TEST_DATA) / "chat_template";

std::vector<nlohmann::ordered_json> lines_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<nlohmann::ordered_json> out;
  for (std::string line; std::getline(file, line);) {
    out.push_back(nlohmann::ordered_json::parse(line));
  }
  return out;
}

TEST(Expected, EveryTemplateAndChatEqualsJinja2) {
  const auto chats = lines_of(kFolder / "chats.jsonl");
  std::map<std::string, ChatTemplate> templates;
  std::map<std::string, int> texts;
  const ChatTime now = ChatTime::parse("2024-07-26T12:34:56");
  for (const auto& row : lines_of(kFolder / "expected.jsonl")) {
    const auto name = row.at("template").get<std::string>();
    if (!templates.contains(name)) {
      templates.emplace(name, ChatTemplate::parse(read_text(kFolder / "templates" / name), name));
    }
    const auto& chat = chats.at(row.at("chat").get<std::size_t>());
    std::optional<std::string> text;
    std::string error;
    try {
      text = templates.at(name).render(chat, now).text;
      ++texts[name];
    } catch (const Error& thrown) {
      error = thrown.what();
    }
    if (row.contains("text")) {
      ASSERT_TRUE(text.has_value()) << name << ", chat " << row.at("chat") << ": " << error;
      ASSERT_EQ(*text, row.at("text").get<std::string>()) << name << ", chat " << row.at("chat");
    } else {
      ASSERT_FALSE(text.has_value()) << name << ", chat " << row.at("chat") << ": " << *text;
    }
  }
  EXPECT_EQ(texts["chatml_tools.jinja"], 90);
  EXPECT_EQ(texts["macros.jinja"], 95);
  EXPECT_EQ(texts["values.jinja"], 1);
}

}  // namespace
}  // namespace mg
