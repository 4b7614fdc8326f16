// Recorded results of the reference tokenizers library.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/io/tokenizer/tokenizer.h"

namespace mg {
namespace {

const std::filesystem::path kData = MG_TEST_DATA;

TEST(SmolLm2, IdsAndDecodingsEqualTheReference) {
  const Tokenizer tokenizer = Tokenizer::open(kData / "smollm2/files/tokenizer.json");
  std::ifstream file(kData / "golden/tokenizer/smollm2.jsonl");
  std::string line;
  int texts = 0;
  while (std::getline(file, line)) {
    const auto expected = nlohmann::json::parse(line);
    const auto text = expected.at("text").get<std::string>();
    const auto ids = expected.at("ids").get<std::vector<std::int32_t>>();
    EXPECT_EQ(tokenizer.encode(text, false), ids) << line;
    EXPECT_EQ(tokenizer.encode(text, true),
              expected.at("with_special").get<std::vector<std::int32_t>>())
        << line;
    EXPECT_EQ(tokenizer.decode(ids, false), expected.at("decoded").get<std::string>()) << line;
    ++texts;
  }
  EXPECT_EQ(texts, 444);
}

}  // namespace
}  // namespace mg
