#include "harness/io/chat_template/chat_settings.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

class Settings : public testing::Test {
 protected:
  Settings()
      : folder_(fs::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Settings() override { fs::remove_all(folder_); }

  void write(const fs::path& name, std::string_view text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }

  fs::path folder_;
};

TEST_F(Settings, NothingIsThere) {
  const ChatSettings settings = read_chat_settings(folder_);
  EXPECT_TRUE(settings.templates.empty());
  EXPECT_TRUE(settings.special_tokens.empty());
  EXPECT_EQ(choose_chat_template(settings.templates, false), std::nullopt);
}

TEST_F(Settings, TokensAreTextsOrObjects) {
  write("special_tokens_map.json", R"({"bos_token": "<old>", "unk_token": {"content": "<unk>"}})");
  write(
      "tokenizer_config.json",
      R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null,
            "add_bos_token": true})");
  const ChatSettings settings = read_chat_settings(folder_);
  EXPECT_EQ(settings.special_tokens,
            (std::map<std::string, std::string>{
                {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}}));
  EXPECT_EQ(settings.add_bos, true);
  EXPECT_EQ(settings.add_eos, std::nullopt);
}

TEST_F(Settings, TheFileComesBeforeTheConfig) {
  write("chat_template.jinja", "file");
  write("tokenizer_config.json", R"({"chat_template": "config"})");
  write("chat_template.json", R"({"chat_template": "processor"})");
  const auto templates = read_chat_templates(folder_);
  ASSERT_EQ(templates.size(), 3U);
  EXPECT_EQ(choose_chat_template(templates, true)->source, "file");
  EXPECT_EQ(templates[1].place, "tokenizer_config.json");
  EXPECT_EQ(templates[2].source, "processor");
}

TEST_F(Settings, NamedTemplates) {
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]})");
  const auto templates = read_chat_templates(folder_);
  EXPECT_EQ(choose_chat_template(templates, false)->source, "d");
  EXPECT_EQ(choose_chat_template(templates, true)->source, "t");
}

TEST_F(Settings, AdditionalTemplatesStandBesideTheFile) {
  write("chat_template.jinja", "d");
  write("additional_chat_templates/tool_use.jinja", "t");
  const auto templates = read_chat_templates(folder_);
  EXPECT_EQ(choose_chat_template(templates, true)->source, "t");
}

TEST_F(Settings, NoDefaultIsAnError) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "r"}]})");
  EXPECT_THROW(choose_chat_template(read_chat_templates(folder_), false), Error);
}

TEST_F(Settings, AMalformedTemplateIsAnError) {
  write("tokenizer_config.json", R"({"chat_template": 3})");
  try {
    read_chat_templates(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.parts().code, "chat_template.bad-file");
    EXPECT_EQ(error.parts().where,
              (folder_ / "tokenizer_config.json").string() + ", chat_template");
  }
}

}  // namespace
}  // namespace mg
