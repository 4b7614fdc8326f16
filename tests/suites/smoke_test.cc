#include "suites/smoke.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "suites/built_in.h"
#include "suites/load.h"
#include "suites/reader.h"
#include "tests/suites/expect_error.h"

namespace mg {
namespace {

using testing::StrEq;

ModelLimits limits_with(std::int64_t vocab, std::int64_t context,
                        std::vector<std::int32_t> special = {},
                        std::optional<std::int32_t> bos = {}) {
  return {
      .vocab_size = vocab, .max_tokens = context, .special_ids = std::move(special), .bos = bos};
}

TEST(Smoke, FitsEveryModelAndKeepsItsMinima) {
  for (const std::int64_t vocab : {2, 17, 2048, 151936}) {
    for (const std::int64_t context : {2, 7, 64, 256, 32768}) {
      const ModelLimits model = limits_with(vocab, context);
      const Suite suite = make_smoke_suite(model);
      EXPECT_GE(suite.prompts.size(), 20U);
      EXPECT_GE(suite.scored_tokens(), 3000);
      EXPECT_NO_THROW(check_limits(suite, model));
      EXPECT_FALSE(suite.needs_model_sampling());
      std::set<std::string> ids;
      for (const SuitePrompt& prompt : suite.prompts) {
        EXPECT_TRUE(ids.insert(prompt.id).second) << prompt.id;
      }
    }
  }
}

TEST(Smoke, SizeOnAnOrdinaryModel) {
  const Suite suite = make_smoke_suite(limits_with(49152, 8192));
  EXPECT_EQ(suite.prompts.size(), 24U);
  EXPECT_EQ(suite.total_tokens(), 3072);
  EXPECT_EQ(suite.scored_tokens(), 3048);
}

TEST(Smoke, SameBytesOnEveryMachine) {
  // Worked out by an independent implementation of the rule in smoke.h (SplitMix64, rejection,
  // repeats).
  const Suite suite = make_smoke_suite(limits_with(49152, 8192, {0, 1, 2}, 1));
  const std::vector<std::int32_t> first(suite.prompts[0].input_ids.begin(),
                                        suite.prompts[0].input_ids.begin() + 6);
  EXPECT_THAT(first, testing::ElementsAre(1, 5891, 33707, 27462, 31441, 39207));
  EXPECT_EQ(suite.digest,
            "sha256:bdfd1cbbb15630af484c1e1b970cea58e9eba41c69f9ab281d55271f4a3c8860");
}

TEST(Smoke, SpecialIdsAreNeverDrawn) {
  const ModelLimits model = limits_with(8, 512, {7, 0, 3, 3, 99, -1}, 3);
  std::vector<std::int64_t> counts(8, 0);
  for (const SuitePrompt& prompt : make_smoke_suite(model).prompts) {
    EXPECT_EQ(prompt.input_ids[0], 3);
    for (std::size_t t = 1; t < prompt.input_ids.size(); ++t) {
      ++counts[static_cast<std::size_t>(prompt.input_ids[t])];
    }
  }
  EXPECT_EQ(counts[0] + counts[3] + counts[7], 0);
  for (const int id : {1, 2, 4, 5, 6}) {
    EXPECT_GT(counts[static_cast<std::size_t>(id)], 0) << id;
  }
}

TEST(Smoke, IdsAreUniform) {
  // Random prompts: n independent draws over 64 ids.  Chi-square has 63 degrees of freedom, mean
  // 63, standard deviation sqrt(126) = 11.2; the seed is fixed, so a bound of 5 standard deviations
  // is not a flaky test.
  std::vector<double> counts(64, 0.0);
  double n = 0.0;
  for (const SuitePrompt& prompt : make_smoke_suite(limits_with(64, 4096)).prompts) {
    if (prompt.tags.front() == "random") {
      for (const std::int32_t id : prompt.input_ids) {
        counts[static_cast<std::size_t>(id)] += 1.0;
        n += 1.0;
      }
    }
  }
  double chi_square = 0.0;
  for (const double count : counts) {
    chi_square += (count - n / 64.0) * (count - n / 64.0) / (n / 64.0);
  }
  EXPECT_LT(chi_square, 63.0 + 5.0 * std::sqrt(126.0));
  EXPECT_GT(chi_square, 63.0 - 5.0 * std::sqrt(126.0));
}

TEST(Smoke, EveryThirdPromptRepeatsItself) {
  const Suite suite = make_smoke_suite(limits_with(49152, 8192, {}, 5));
  for (std::size_t i = 0; i < suite.prompts.size(); ++i) {
    const SuitePrompt& prompt = suite.prompts[i];
    const std::size_t drawn = prompt.input_ids.size() - 1;
    const std::size_t half = (drawn + 1) / 2;
    const auto begin = prompt.input_ids.begin() + 1;
    const bool repeats = std::equal(begin, begin + static_cast<std::ptrdiff_t>(drawn - half),
                                    begin + static_cast<std::ptrdiff_t>(half));
    EXPECT_EQ(repeats, i % 3 == 2) << i;
    EXPECT_THAT(prompt.tags, testing::ElementsAre(repeats ? "repeat" : "random"));
  }
}

TEST(Smoke, AnotherSeedDrawsOtherIds) {
  const ModelLimits model = limits_with(2048, 512);
  EXPECT_EQ(make_smoke_suite(model).digest, make_smoke_suite(model, kSmokeSeed).digest);
  EXPECT_NE(make_smoke_suite(model).digest, make_smoke_suite(model, kSmokeSeed + 1).digest);
}

TEST(Smoke, ItsTextIsASuite) {
  const Suite suite = make_smoke_suite(limits_with(2048, 512, {0}, 0));
  const Suite read = parse_suite(write_suite(suite), "smoke", "smoke.jsonl");
  EXPECT_EQ(read.digest, suite.digest);
  ASSERT_EQ(read.prompts.size(), suite.prompts.size());
  EXPECT_EQ(read.prompts[5].input_ids, suite.prompts[5].input_ids);
}

TEST(Smoke, TooSmallAModel) {
  EXPECT_THAT(
      error_text([] {
        make_smoke_suite(limits_with(3, 1, {0, 1}, 0));
      }),
      StrEq("error[suite.model-too-small]: the model is too small for the built-in suite\n"
            "  where:    suite smoke\n"
            "  expected: a context of 2 tokens and 2 ordinary token ids, or more   actual: a "
            "context of 1, 1 ordinary token ids\n"
            "  hint:     give a suite of your own with --suite FILE"));
}

TEST(LoadSuite, BuiltInFileAndFolder) {
  const ModelLimits model = limits_with(320, 256);
  EXPECT_EQ(load_suite("smoke", model).digest, make_smoke_suite(model).digest);
  const std::string folder = std::string(MG_TEST_DATA) + "/golden/qwen2";
  EXPECT_EQ(load_suite(folder, model).name, "qwen2");
  EXPECT_EQ(load_suite(folder + "/", model).name, "qwen2");
  EXPECT_EQ(load_suite(folder + "/inputs.jsonl", model).name, "inputs");
  EXPECT_EQ(load_suite(folder, model).digest, load_suite(folder + "/inputs.jsonl", model).digest);
}

TEST(LoadSuite, EveryBuiltInNameLoads) {
  for (const BuiltInSuite& suite : built_in_suites()) {
    const Suite loaded = load_suite(suite.name, limits_with(320, 256));
    EXPECT_EQ(loaded.name, suite.name);
    EXPECT_EQ(static_cast<std::int64_t>(loaded.prompts.size()), suite.prompts) << suite.name;
  }
}

TEST(LoadSuite, Unknown) {
  EXPECT_THAT(error_text([] { load_suite("smok", limits_with(320, 256)); }),
              StrEq("error[suite.unknown]: no built-in suite, file or folder has this name\n"
                    "  where:    --suite smok\n"
                    "  expected: a file, a folder, or one of: smoke, language, chat, code, "
                    "numbers, adversarial, long, vision   actual: nothing there"));
}

TEST(LoadSuite, FolderWithoutASuite) {
  const std::string folder = std::string(MG_TEST_DATA) + "/golden";
  EXPECT_THAT(error_text([&] { load_suite(folder, limits_with(320, 256)); }),
              StrEq("error[suite.folder]: the folder does not say which file is the suite\n"
                    "  where:    " +
                    folder +
                    "\n"
                    "  expected: suite.jsonl, or one file that ends in .jsonl   actual: no .jsonl "
                    "file\n"
                    "  hint:     give the file itself"));
}

}  // namespace
}  // namespace mg
