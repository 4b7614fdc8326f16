// What the reader refuses, and how it says so.
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "harness/io/tokenizer/tokenizer.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

nlohmann::json small() {
  return nlohmann::json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

std::string error_of(const std::function<void(nlohmann::json&)>& change) {
  nlohmann::json file = small();
  change(file);
  try {
    Tokenizer::parse(file.dump(), "tokenizer.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(Reader, ReadsTheSmallestFile) {
  const Tokenizer tokenizer = Tokenizer::parse(small().dump(), "tokenizer.json");
  EXPECT_EQ(tokenizer.encode("abba", false), (std::vector<std::int32_t>{2, 1, 0}));
  EXPECT_EQ(tokenizer.encode("axb", false), (std::vector<std::int32_t>{2}));  // x is dropped
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{2, 0}, false), "ab a");
  EXPECT_EQ(tokenizer.id_limit(), 3);
}

TEST(Reader, NamesUnknownComponents) {
  EXPECT_EQ(error_of([](auto& f) {
              f["normalizer"] = {{"type", "Nmt"}};
            }),
            "error[tokenizer.unknown-component]: normalizer \"Nmt\" is not known to this reader\n"
            "  where:    tokenizer.json, normalizer\n"
            "  hint:     leaving it out would change token ids; please report the model");
  EXPECT_EQ(
      error_of([](auto& f) {
        f["pre_tokenizer"] = {
            {"type", "Sequence"},
            {"pretokenizers", {{{"type", "WhitespaceSplit"}}, {{"type", "UnicodeScripts"}}}}};
      }),
      "error[tokenizer.unknown-component]: pre-tokenizer \"UnicodeScripts\" is not known to this "
      "reader\n"
      "  where:    tokenizer.json, pre_tokenizer.pretokenizers[1]\n"
      "  hint:     leaving it out would change token ids; please report the model");
  EXPECT_NE(error_of([](auto& f) {
              f["decoder"] = {{"type", "CTC"}};
            }).find("decoder \"CTC\""),
            std::string::npos);
  EXPECT_NE(error_of([](auto& f) {
              f["post_processor"] = {{"type", "BertProcessing"}};
            }).find("post-processor \"BertProcessing\""),
            std::string::npos);
  EXPECT_NE(error_of([](auto& f) { f["model"]["type"] = "Unigram"; }).find("model \"Unigram\""),
            std::string::npos);
}

TEST(Reader, NamesBadMembers) {
  EXPECT_EQ(error_of([](auto& f) { f["model"]["merges"] = {"a c"}; }),
            "error[tokenizer.bad-merge]: a merge joins tokens that are not in the vocabulary\n"
            "  where:    tokenizer.json, model.merges\n"
            "  actual:   a c\n"
            "  hint:     the vocabulary and the merges are not of the same model");
  EXPECT_NE(error_of([](auto& f) {
              f["model"]["merges"] = {"b a"};
            }).find("a merge makes a token that is not in the vocabulary"),
            std::string::npos);
  EXPECT_NE(error_of([](auto& f) {
              f["model"]["merges"] = {"a b c"};
            }).find("merge 0 is not two tokens and a space"),
            std::string::npos);
  EXPECT_EQ(
      error_of([](auto& f) { f["model"]["vocab"]["z"] = -1; }),
      "error[tokenizer.bad-component]: a member of the tokenizer's file has the wrong type or "
      "value\n"
      "  where:    tokenizer.json, model.vocab.z\n"
      "  expected: an id from 0 to 16777215   actual: -1");
  EXPECT_NE(error_of([](auto& f) { f["model"]["dropout"] = 0.1; }).find("model.dropout"),
            std::string::npos);
  EXPECT_NE(error_of([](auto& f) { f["version"] = "2.0"; }).find("version"), std::string::npos);
  EXPECT_NE(error_of([](auto& f) {
              f["pre_tokenizer"] = {{"type", "Digits"}};
            }).find("pre_tokenizer.individual_digits"),
            std::string::npos);
  EXPECT_NE(error_of([](auto& f) { f["pre_tokenizer"] = 5; }).find("pre_tokenizer"),
            std::string::npos);
  EXPECT_NE(error_of([](auto& f) {
              f["added_tokens"] = {{{"id", 3}}};
            }).find("added_tokens[0].content"),
            std::string::npos);
  EXPECT_NE(error_of([](auto& f) { f.erase("model"); }).find("model"), std::string::npos);
}

nlohmann::json added(int id, const char* content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

// The reference gives the next free id whatever the file says, and warns.
TEST(Reader, GivesAddedTokensTheReferencesIds) {
  nlohmann::json file = small();
  file["added_tokens"] = {added(7, "<x>"), added(2, "ab")};
  const Tokenizer tokenizer = Tokenizer::parse(file.dump(), "t.json");
  EXPECT_EQ(tokenizer.id_of("<x>"), 3);
  EXPECT_EQ(
      tokenizer.warnings(),
      (std::vector<std::string>{"t.json, added_tokens[0]: token \"<x>\" says id 7 and gets id 3"}));
  EXPECT_TRUE(tokenizer.is_special(2));
  EXPECT_FALSE(tokenizer.is_special(1));
}

TEST(Reader, RefusesTextThatIsNotUtf8) {
  const Tokenizer tokenizer = Tokenizer::parse(small().dump(), "t.json");
  EXPECT_THROW(tokenizer.encode("a\xFF", false), Error);
}

}  // namespace
}  // namespace mg
