// Recorded results of the reference tokenizers library: a published tokenizer, and tiny ones
// trained so that every component is used (reference/make_fixtures.py).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/io/tokenizer/tokenizer.h"

namespace mg {
namespace {

using Ids = std::vector<std::int32_t>;

const std::filesystem::path kData = MG_TEST_DATA;

void expect_equal(const Tokenizer& tokenizer, const nlohmann::json& row) {
  const auto text = row.at("text").get<std::string>();
  const auto ids = row.at("ids").get<Ids>();
  const auto special = row.at("with_special").get<Ids>();
  EXPECT_EQ(tokenizer.encode(text, false), ids) << row.dump();
  EXPECT_EQ(tokenizer.encode(text, true), special) << row.dump();
  EXPECT_EQ(tokenizer.decode(special, false), row.at("decoded").get<std::string>()) << row.dump();
  if (row.contains("skipped")) {
    EXPECT_EQ(tokenizer.decode(special, true), row.at("skipped").get<std::string>()) << row.dump();
  }
  // Following where tokens came from must not change which they are, and what they cover is in
  // order.
  const TokenizedText with_spans = tokenizer.encode_with_spans(text, true);
  EXPECT_EQ(with_spans.ids, special) << row.dump();
  ASSERT_EQ(with_spans.spans.size(), special.size());
  for (const TextRange& span : with_spans.spans) {
    EXPECT_LE(span.begin, span.end) << row.dump();
    EXPECT_LE(span.end, text.size()) << row.dump();
  }
}

int expect_all_equal(const Tokenizer& tokenizer, const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  int texts = 0;
  while (std::getline(file, line)) {
    expect_equal(tokenizer, nlohmann::json::parse(line));
    ++texts;
  }
  return texts;
}

TEST(Golden, SmolLm2) {
  const Tokenizer tokenizer = Tokenizer::open(kData / "smollm2/files/tokenizer.json");
  EXPECT_EQ(expect_all_equal(tokenizer, kData / "golden/tokenizer/smollm2.jsonl"), 444);
}

class Fixture : public testing::TestWithParam<const char*> {};

TEST_P(Fixture, EqualsTheReference) {
  const auto folder = kData / "tokenizer/fixtures";
  const std::string name = GetParam();
  const Tokenizer tokenizer = Tokenizer::open(folder / (name + ".json"));
  EXPECT_EQ(expect_all_equal(tokenizer, folder / (name + ".jsonl")), 146);
  EXPECT_TRUE(tokenizer.warnings().empty());
}

INSTANTIATE_TEST_SUITE_P(Golden, Fixture,
                         testing::Values("qwen2_like", "llama3_like", "llama2_like", "mistral_like",
                                         "gemma_like", "odd", "merged_with_previous",
                                         "merged_with_next", "contiguous"),
                         [](const auto& test) { return std::string(test.param); });

// Where nothing is normalised, the tokens' spans tile the text.
TEST(Spans, TileTheText) {
  const Tokenizer tokenizer = Tokenizer::open(kData / "tokenizer/fixtures/llama3_like.json");
  const std::string text = "Größe 123\n\n合并 don't <|eot_id|> x";
  const TokenizedText tokens = tokenizer.encode_with_spans(text, false);
  std::size_t at = 0;
  for (const TextRange& span : tokens.spans) {
    EXPECT_EQ(span.begin, at);
    at = span.end;
  }
  EXPECT_EQ(at, text.size());
}

TEST(Spans, FollowNormalisation) {
  const Tokenizer tokenizer = Tokenizer::open(kData / "tokenizer/fixtures/qwen2_like.json");
  // e and a combining acute become one character of two bytes; what follows is found at its old
  // place.
  const std::string text = "e\u0301 <|im_end|>z";
  const TokenizedText tokens = tokenizer.encode_with_spans(text, false);
  ASSERT_GE(tokens.spans.size(), 2U);
  EXPECT_EQ(tokens.spans.front().begin, 0U);
  EXPECT_EQ(tokens.spans.back(), (TextRange{text.size() - 1, text.size()}));
  EXPECT_EQ(tokens.spans[tokens.spans.size() - 2], (TextRange{4, 14}));
}

// Time grows about linearly: these would take minutes otherwise (the test's time limit is the
// check).
TEST(Hostile, LongRunsOfOneCharacter) {
  for (const char* name : {"qwen2_like", "llama3_like", "llama2_like", "gemma_like"}) {
    const Tokenizer tokenizer =
        Tokenizer::open(kData / "tokenizer/fixtures" / (std::string(name) + ".json"));
    for (const char* unit : {"a", " ", "\n", "1", "ab", " \n", "\u4f60", "'", "</"}) {
      std::string text;
      while (text.size() < 1'000'000) {
        text += unit;
      }
      const auto ids = tokenizer.encode(text, false);
      EXPECT_FALSE(ids.empty()) << name << " " << unit;
    }
  }
}

}  // namespace
}  // namespace mg
