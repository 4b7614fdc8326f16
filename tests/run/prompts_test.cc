// Suites of text and chat: the written ones and their counts, what becomes of a prompt, and folders
// whose tokenizers or templates disagree.
#include "harness/run/prompts.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "harness/run/demo.h"
#include "kernels/core/error.h"
#include "suites/built_in.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const fs::path kSmol = fs::path(MG_TEST_DATA) / "smollm2" / "files";
// SmolLM2-135M-Instruct; <|endoftext|>, <|im_start|>, <|im_end|>.
const ModelLimits kLimits{
    .vocab_size = 49152, .max_tokens = 8192, .special_ids = {0, 1, 2}, .bos = 1};

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

void replace(const fs::path& path, const std::string& from, const std::string& to) {
  std::string text = read_text(path);
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << path << " has no " << from;
  write(path, text.replace(at, from.size(), to));
}

std::string with_thousands(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) {
    digits.insert(at - 3, ",");
  }
  return digits;
}

/// A tower whose images are written with tokens of SmolLM2 that no text has.
VisionConfig small_vision() {
  VisionConfig vision;
  vision.in_channels = 3;
  vision.patch_size = 14;
  vision.temporal_patch_size = 2;
  vision.spatial_merge_size = 2;
  vision.image_token_id = 3;
  vision.video_token_id = 4;
  return vision;
}

// As Qwen2-VL's, with those tokens.
constexpr const char* kVisionTemplate =
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<repo_name>"
    "{% elif part['type'] == 'video' %}<reponame>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Two folders with SmolLM2's tokenizer files: base, and merged to plant faults in.
class PromptsTest : public ::testing::Test {
 protected:
  PromptsTest() {
    for (const char* role : {"base", "merged"}) {
      fs::create_directories(folder_.path() / role);
      for (const char* file : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
        fs::copy_file(kSmol / file, folder_.path() / role / file);
      }
    }
    write(suite(), R"({"id": "t", "text": "The harbour master's clock"})"
                   "\n"
                   R"({"id": "c", "messages": [{"role": "user", "content": "Hi"}, )"
                   R"({"role": "assistant", "content": "Hello there."}]})"
                   "\n"
                   R"({"id": "o", "messages": [{"role": "user", "content": "Hi"}]})"
                   "\n");
  }

  fs::path base() const { return folder_.path() / "base"; }
  fs::path adapter() const { return folder_.path() / "adapter"; }
  fs::path merged() const { return folder_.path() / "merged"; }
  fs::path suite() const { return folder_.path() / "s.jsonl"; }

  Prompts load() const {
    return load_prompts({suite().string()}, kLimits, 0,
                        {.base = base(), .adapter = adapter(), .merged = merged()});
  }
  std::string load_error() const {
    try {
      load();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  /// Makes base a model of images.
  void take_images() const {
    write(base() / "chat_template.jinja", kVisionTemplate);
    write(base() / "preprocessor_config.json", "{}");
  }
  /// Base alone, with images in the suite; the error's code and what was there, or the prompts.
  Prompts load_images(const std::string& lines, const VisionConfig* vision) const {
    write(suite(), lines);
    return load_prompts({suite().string()}, kLimits, 0,
                        {.base = base(), .adapter = {}, .merged = {}}, vision);
  }
  std::string image_error(const std::string& lines, const VisionConfig* vision) const {
    try {
      load_images(lines, vision);
    } catch (const Error& error) {
      return error.parts().code + ": " + error.parts().actual;
    }
    return "no error";
  }

  TemporaryFolder folder_;
};

TEST_F(PromptsTest, WrittenSuitesHaveTheCountsTheyClaim) {
  std::int64_t prompts = 0;
  std::int64_t scored = 0;
  for (const BuiltInSuite& claim : built_in_suites()) {
    const std::string name(claim.name);
    const VisionConfig vision = small_vision();
    if (name == "vision") {
      take_images();
    }
    const Prompts loaded = load_prompts(
        {name}, kLimits, 0,
        {.base = name == "vision" ? base() : kSmol, .adapter = {}, .merged = {}}, &vision);
    EXPECT_EQ(loaded.suites[0].tokens, claim.tokens) << name;
    if (name == "smoke") {
      continue;
    }
    const auto run = static_cast<std::int64_t>(loaded.rows.size());
    const std::string line = fmt::format(
        "{} prompts; with SmolLM2's tokenizer {} tokens, {} of them scored.", claim.prompts,
        with_thousands(claim.tokens), with_thousands(claim.tokens - run));
    EXPECT_THAT(read_text(fs::path(MG_TEST_DATA).parent_path() / "suites" / name / "README.md"),
                HasSubstr(line));
    if (name == "chat" || name == "language") {
      prompts += run;
      scored += claim.tokens - run;
    }
  }
  EXPECT_GE(prompts, 60);
  EXPECT_GE(scored, 10'000);
}

TEST_F(PromptsTest, TextsAndChatsBecomeIds) {
  const Prompts prompts = load();
  EXPECT_THAT(prompts.findings, IsEmpty());
  ASSERT_EQ(prompts.suites[0].token_ids.size(), 3U);
  EXPECT_EQ(prompts.suites[0].token_ids[0].prompt, "t");
  EXPECT_THAT(prompts.suites[0].token_ids[0].ids, ElementsAre(504, 28899, 4163, 506, 9191));
  const Tokenizer& tokenizer = prompts.sources->reference()->tokenizer();
  const std::string system =
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
      "Face<|im_end|>\n";
  const std::string asked = system + "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(tokenizer.decode(prompts.suites[0].token_ids[1].ids, false),
            asked + "Hello there.<|im_end|>\n");
  EXPECT_EQ(tokenizer.decode(prompts.suites[0].token_ids[2].ids, false), asked);
}

TEST_F(PromptsTest, TheAssistantsWordsAreASliceOfTheRowsThatPredictThem) {
  const Prompts prompts = load();
  const auto slice = std::find_if(prompts.slices.begin(), prompts.slices.end(),
                                  [](const SliceSpec& s) { return s.name == "assistant"; });
  ASSERT_NE(slice, prompts.slices.end());
  ASSERT_EQ(slice->ranges.size(), 1U);
  const RowRange& range = slice->ranges[0];
  EXPECT_EQ(range.prompt, 1);
  const std::vector<std::int32_t>& ids = prompts.suites[0].token_ids[1].ids;
  const std::vector<std::int32_t> words(ids.begin() + range.begin + 1, ids.begin() + range.end + 1);
  EXPECT_EQ(prompts.sources->reference()->tokenizer().decode(words, false),
            "Hello there.<|im_end|>\n");
}

TEST_F(PromptsTest, AnotherTokenizerInMergedIsF41WithTheFirstDifference) {
  auto file = nlohmann::ordered_json::parse(read_text(merged() / "tokenizer.json"));
  std::swap(file["model"]["vocab"]["Ġclock"], file["model"]["vocab"]["Ġharbour"]);
  write(merged() / "tokenizer.json", file.dump());
  const Prompts prompts = load();
  ASSERT_EQ(prompts.findings.size(), 1U);
  const Finding& finding = prompts.findings[0];
  EXPECT_EQ(finding.rule, "prompts.token-ids");
  EXPECT_THAT(finding.catalogue, ElementsAre("F41"));
  EXPECT_EQ(finding.severity, Severity::kError);
  EXPECT_EQ(finding.message, "merged's tokenizer gives 1 of 3 prompts other token ids than base's");
  EXPECT_EQ(finding.expected, "prompt \"s/t\", token 1: 28899 \"Ġharbour\" after \"The\"");
  EXPECT_EQ(finding.actual, "9191 \"Ġharbour\"");
}

TEST_F(PromptsTest, AnotherTemplateInMergedIsF43WithTheFirstDifference) {
  replace(merged() / "chat_template.jinja", "<|im_end|>", "<|im_end|> ");
  const Prompts prompts = load();
  ASSERT_EQ(prompts.findings.size(), 1U);
  const Finding& finding = prompts.findings[0];
  EXPECT_EQ(finding.rule, "prompts.rendering");
  EXPECT_THAT(finding.catalogue, ElementsAre("F43"));
  EXPECT_EQ(finding.severity, Severity::kError);
  EXPECT_EQ(finding.message,
            "merged's chat template renders 2 of 2 prompts another text than base's");
  EXPECT_EQ(finding.fix->what, "copy base's chat template to merged");
}

TEST_F(PromptsTest, AMissingTemplateInMergedIsF43) {
  fs::remove(merged() / "chat_template.jinja");
  const Prompts prompts = load();
  ASSERT_EQ(prompts.findings.size(), 1U);
  EXPECT_EQ(prompts.findings[0].rule, "prompts.no-template");
  EXPECT_EQ(prompts.findings[0].severity, Severity::kError);
}

TEST_F(PromptsTest, AMergedFolderWithoutATokenizerIsAWarning) {
  fs::remove(merged() / "tokenizer.json");
  const Prompts prompts = load();
  ASSERT_EQ(prompts.findings.size(), 1U);
  EXPECT_EQ(prompts.findings[0].rule, "prompts.no-tokenizer");
  EXPECT_EQ(prompts.findings[0].severity, Severity::kWarning);
}

// What the adapter was trained with counts; merged has to follow it, and base may differ.
TEST_F(PromptsTest, TheAdaptersTokenizerIsTheReference) {
  fs::copy(base(), adapter());
  replace(adapter() / "chat_template.jinja", "<|im_end|>", "<|im_end|> ");
  fs::copy_file(adapter() / "chat_template.jinja", merged() / "chat_template.jinja",
                fs::copy_options::overwrite_existing);
  const Prompts prompts = load();
  ASSERT_EQ(prompts.findings.size(), 1U);
  EXPECT_EQ(prompts.findings[0].severity, Severity::kWarning);
  EXPECT_EQ(prompts.findings[0].message,
            "base's chat template renders 2 of 2 prompts another text than adapter's");
}

TEST_F(PromptsTest, PromptsWithoutATokenAreLeftOutAndSaidSo) {
  write(suite(), "{\"id\": \"e\", \"text\": \"\"}\n{\"id\": \"t\", \"text\": \"a\"}\n");
  const Prompts prompts = load();
  EXPECT_EQ(prompts.rows.size(), 1U);
  ASSERT_EQ(prompts.findings.size(), 1U);
  EXPECT_EQ(prompts.findings[0].rule, "prompts.empty");
  EXPECT_EQ(prompts.findings[0].severity, Severity::kNote);
  write(suite(), "{\"id\": \"e\", \"text\": \"\"}\n");
  EXPECT_THAT(load_error(), testing::StartsWith("error[suite.empty]"));
}

TEST_F(PromptsTest, ChatsThatTheTemplateRefusesAreLeftOutAndSaidSo) {
  write(base() / "chat_template.jinja",
        "{% if messages|length > 1 %}{{ raise_exception('one at a time') }}{% endif %}"
        "{{ messages[0].content }}");
  fs::copy_file(base() / "chat_template.jinja", merged() / "chat_template.jinja",
                fs::copy_options::overwrite_existing);
  const Prompts prompts = load();
  EXPECT_EQ(prompts.rows.size(), 2U);
  ASSERT_EQ(prompts.findings.size(), 1U);
  EXPECT_EQ(prompts.findings[0].rule, "prompts.refused");
  EXPECT_THAT(prompts.findings[0].subject, HasSubstr("s/c: one at a time"));
}

TEST_F(PromptsTest, WithoutAnyTokenizerItSaysWhatToDo) {
  for (const fs::path& folder : {base(), merged()}) {
    fs::remove(folder / "tokenizer.json");
    write(folder / "tokenizer.model", "x");
  }
  EXPECT_THAT(load_error(), testing::StartsWith("error[tokenizer.missing]"));
  EXPECT_THAT(load_error(), HasSubstr("save_pretrained"));
}

TEST_F(PromptsTest, TimeIsTheSuitesNotTheRuns) {
  write(base() / "chat_template.jinja", "{{ strftime_now('%Y-%m-%d') }}");
  fs::copy_file(base() / "chat_template.jinja", merged() / "chat_template.jinja",
                fs::copy_options::overwrite_existing);
  write(suite(),
        "{\"id\": \"a\", \"messages\": [{}]}\n"
        "{\"id\": \"b\", \"messages\": [{}], \"now\": \"2020-01-31\"}\n");
  const Prompts prompts = load();
  const Tokenizer& tokenizer = prompts.sources->reference()->tokenizer();
  EXPECT_EQ(tokenizer.decode(prompts.suites[0].token_ids[0].ids, false), "2024-07-26");
  EXPECT_EQ(tokenizer.decode(prompts.suites[0].token_ids[1].ids, false), "2020-01-31");
}

constexpr const char* kOneImage =
    R"({"id": "i", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, )"
    R"({"type": "image", "image": "rgb.png"}, {"type": "text", "text": "b"}]}, )"
    R"({"role": "assistant", "content": "yes"}]})";

TEST_F(PromptsTest, AnImageBecomesPatchesAndItsPlaceholders) {
  take_images();
  // 28 x 56 pixels: 1 x 2 tokens, for min_pixels of 3136 doubled in each direction: 2 x 4... and
  // the assistant's words move behind them.
  fs::copy_file(fs::path(MG_TEST_DATA) / "io" / "image" / "data" / "rgb-11.png",
                folder_.path() / "rgb.png");
  const VisionConfig vision = small_vision();
  const Prompts prompts = load_images(kOneImage, &vision);
  ASSERT_EQ(prompts.batch.pictures.size(), 1U);
  const BatchPicture& picture = prompts.batch.pictures.front();
  const std::int64_t tokens = tokens_of(picture.picture, vision);
  EXPECT_EQ(picture.rows, tokens);
  EXPECT_EQ(static_cast<std::int64_t>(picture.patches->size()),
            picture.picture.patches() * 3 * 2 * 14 * 14);
  const std::vector<std::int32_t>& ids = prompts.batch.ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 3), tokens);
  EXPECT_EQ(ids[static_cast<std::size_t>(picture.row)], 3);
  EXPECT_NE(ids[static_cast<std::size_t>(picture.row - 1)], 3);
  // Text behind the image counts on from its longer side.
  const auto after = static_cast<std::size_t>(picture.row + tokens);
  const Position& before = prompts.batch.positions[static_cast<std::size_t>(picture.row - 1)];
  EXPECT_EQ(prompts.batch.positions[after][0],
            before[0] + 1 + std::max(picture.picture.grid[1], picture.picture.grid[2]) / 2);
  const auto slice = std::find_if(prompts.slices.begin(), prompts.slices.end(),
                                  [](const SliceSpec& each) { return each.name == "assistant"; });
  ASSERT_NE(slice, prompts.slices.end());
  const Tokenizer& tokenizer = prompts.sources->reference()->tokenizer();
  const auto begin = ids.begin() + slice->ranges.front().begin + 1;
  EXPECT_THAT(tokenizer.decode({begin, begin + 1}, false), HasSubstr("yes"));
}

TEST_F(PromptsTest, ImagesThatCannotBeUsedAreErrors) {
  const VisionConfig vision = small_vision();
  fs::copy_file(fs::path(MG_TEST_DATA) / "io" / "image" / "data" / "rgb-11.png",
                folder_.path() / "rgb.png");
  write(base() / "chat_template.jinja", kVisionTemplate);
  EXPECT_EQ(image_error(kOneImage, &vision), "image.no-settings: none");
  take_images();
  EXPECT_EQ(image_error(kOneImage, nullptr), "suite.no-vision: none");
  VisionConfig other = vision;
  other.patch_size = 16;
  EXPECT_EQ(image_error(kOneImage, &other), "image.settings: 14, 2, 2, 3");
  write(base() / "chat_template.jinja",
        "{% for message in messages %}{{ message['role'] }}{% endfor %}");
  EXPECT_EQ(image_error(kOneImage, &vision), "suite.image-tokens: 0, 0");
  take_images();
  write(folder_.path() / "rgb.png", "GIF89a");
  EXPECT_EQ(image_error(kOneImage, &vision), "image.format: other first bytes");
  fs::remove(folder_.path() / "rgb.png");
  EXPECT_EQ(image_error(kOneImage, &vision), "image.unreadable: no regular file there");
  EXPECT_EQ(image_error(R"({"id": "i", "messages": [{"role": "user", "content": )"
                        R"([{"type": "image", "image": "https://example.org/cat.png"}]}]})",
                        &vision),
            R"(suite.wrong-type: {"type":"image","image":"https://example.org/cat.png"})");
  EXPECT_EQ(image_error(R"({"id": "i", "messages": [{"role": "user", "content": )"
                        R"([{"type": "video", "video": "cat.mp4"}]}]})",
                        &vision),
            "suite.missing-key: none");
}

}  // namespace
}  // namespace mg
