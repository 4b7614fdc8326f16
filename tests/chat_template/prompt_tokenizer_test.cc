#include "harness/io/chat_template/prompt_tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
const fs::path kData = MG_TEST_DATA;

// A folder with a copy of a fixture's tokenizer and the files a test gives it.
class Prompts : public testing::Test {
 protected:
  fs::path folder(const std::string& name, const std::string& tokenizer, std::string_view source,
                  std::string_view config = "{}") {
    const fs::path path = fs::path(testing::TempDir()) / ("prompts_" + name);
    fs::remove_all(path);
    fs::create_directories(path);
    if (!tokenizer.empty()) {
      fs::copy_file(kData / "tokenizer/fixtures" / (tokenizer + ".json"), path / "tokenizer.json");
    }
    if (!source.empty()) {
      std::ofstream(path / "chat_template.jinja") << source;
    }
    std::ofstream(path / "tokenizer_config.json") << config;
    made_.push_back(path);
    return path;
  }
  ~Prompts() override {
    for (const fs::path& path : made_) {
      fs::remove_all(path);
    }
  }
  std::vector<fs::path> made_;
};

constexpr std::string_view kChatMl =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

const auto kTurns = nlohmann::ordered_json::parse(
    R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello you"},
        {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you"}]})");

std::vector<std::string> assistant_texts(const PromptTokens& tokens) {
  std::vector<std::string> out;
  for (const TextRange& range : tokens.assistant) {
    const std::size_t begin = tokens.spans[range.begin].begin;
    const std::size_t end = tokens.spans[range.end - 1].end;
    out.push_back(tokens.text.substr(begin, end - begin));
  }
  return out;
}

TEST_F(Prompts, TagTheAssistantsWords) {
  const auto prompts = PromptTokenizer::open(folder("tags", "qwen2_like", kChatMl));
  const PromptTokens tokens = prompts.encode_chat(kTurns, std::nullopt);
  EXPECT_EQ(assistant_texts(tokens),
            (std::vector<std::string>{"Hello you<|im_end|>\n", "See you<|im_end|>\n"}));
  EXPECT_TRUE(tokens.assistant_complete);
  EXPECT_EQ(tokens.text.find("<|im_start|>assistant\n", tokens.text.size() - 30), std::string::npos)
      << "no generation prompt behind the assistant's last word";
}

TEST_F(Prompts, GenerationBlocksSayIt) {
  const auto prompts = PromptTokenizer::open(
      folder("blocks", "qwen2_like",
             "{% for m in messages %}<|im_start|>{% if m.role == 'assistant' %}{% generation %}{{ "
             "m.content "
             "}}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}"));
  EXPECT_EQ(assistant_texts(prompts.encode_chat(kTurns, std::nullopt)),
            (std::vector<std::string>{"Hello you", "See you"}));
}

// A template that drops earlier answers cannot be followed by its prompts; the words are looked
// for.
TEST_F(Prompts, RewrittenTurnsAreFoundOrReported) {
  const std::string source =
      "{% for m in messages %}[{{ m.role }}]{{ m.content if loop.last or m.role == 'user' else "
      "m.content.split(' ')[0] }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
  const auto prompts = PromptTokenizer::open(folder("rewritten", "qwen2_like", source));
  const PromptTokens tokens = prompts.encode_chat(kTurns, std::nullopt);
  EXPECT_EQ(tokens.text, "[user]Hi[assistant]Hello[user]Bye[assistant]See you");
  EXPECT_EQ(assistant_texts(tokens), (std::vector<std::string>{"See you"}));
  EXPECT_FALSE(tokens.assistant_complete);
}

TEST_F(Prompts, AskForAnAnswerUnlessOneIsThere) {
  const auto prompts = PromptTokenizer::open(folder("asks", "qwen2_like", kChatMl));
  const auto question =
      nlohmann::ordered_json::parse(R"({"messages": [{"role": "user", "content": "Hi"}]})");
  EXPECT_TRUE(
      prompts.encode_chat(question, std::nullopt).text.ends_with("<|im_start|>assistant\n"));
  nlohmann::ordered_json told = question;
  told["add_generation_prompt"] = false;
  EXPECT_TRUE(prompts.encode_chat(told, std::nullopt).text.ends_with("<|im_end|>\n"));
}

TEST_F(Prompts, TextGetsTheSpecialTokensTheFolderAsksFor) {
  const auto plain = PromptTokenizer::open(folder("plain", "llama2_like", ""));
  EXPECT_EQ(plain.encode_text("a").ids.front(), 1);  // the file's own template: <s>
  const auto none = PromptTokenizer::open(
      folder("none", "llama2_like", "", R"({"bos_token": "<s>", "add_bos_token": false})"));
  EXPECT_NE(none.encode_text("a").ids.front(), 1);
  const auto both = PromptTokenizer::open(folder(
      "both", "llama2_like", "",
      R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true, "add_eos_token": true})"));
  EXPECT_EQ(both.encode_text("a").ids.front(), 1);
  EXPECT_EQ(both.encode_text("a").ids.back(), 2);
}

TEST_F(Prompts, ShowTheFirstDifference) {
  const auto reference = PromptTokenizer::open(folder("left", "qwen2_like", kChatMl));
  const auto subject = PromptTokenizer::open(
      folder("right", "qwen2_like",
             "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}{% endfor %}"));
  const auto question = nlohmann::ordered_json::parse(
      R"({"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": false})");
  const PromptTokens left = reference.encode_chat(question, std::nullopt);
  const PromptTokens right = subject.encode_chat(question, std::nullopt);
  const auto difference = first_difference(reference, left, subject, right);
  ASSERT_TRUE(difference.has_value());
  EXPECT_EQ(difference->text_before, "<|im_start|>user");
  EXPECT_NE(difference->reference.find("\u010A"), std::string::npos) << difference->reference;
  EXPECT_NE(difference->subject.find(":"), std::string::npos) << difference->subject;
  EXPECT_EQ(first_difference(reference, left, reference, left), std::nullopt);
  PromptTokens shorter = left;
  shorter.ids.pop_back();
  const auto end = first_difference(reference, left, reference, shorter);
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->subject, "the end");
}

TEST_F(Prompts, SayHowToConvertASentencePieceModel) {
  const fs::path path = folder("spm", "", "");
  std::ofstream(path / "tokenizer.model") << "x";
  try {
    PromptTokenizer::open(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(
        std::string(error.what()),
        "error[tokenizer.missing]: the folder has no tokenizer.json\n"
        "  where:    " +
            path.string() +
            "\n"
            "  expected: tokenizer.json   actual: tokenizer.model\n"
            "  hint:     convert it: python -c \"from transformers import AutoTokenizer as T; "
            "T.from_pretrained('" +
            path.string() + "').save_pretrained('" + path.string() + "')\"");
  }
}

TEST_F(Prompts, AnUnreadableTemplateMattersOnlyToChats) {
  const auto prompts = PromptTokenizer::open(folder("broken", "qwen2_like", "{% include 'x' %}"));
  EXPECT_FALSE(prompts.encode_text("a").ids.empty());
  EXPECT_THROW(prompts.encode_chat(kTurns, std::nullopt), Error);
  const auto without = PromptTokenizer::open(folder("without", "qwen2_like", ""));
  try {
    without.encode_chat(kTurns, std::nullopt);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.parts().code, "chat_template.missing");
  }
}

}  // namespace
}  // namespace mg
