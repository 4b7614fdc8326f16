#include "suites/smoke.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/core/error.h"

namespace mg {
namespace {

// Means 128: 24 prompts make 3,072 tokens, 3,048 of them scored.  Not sorted, so that a token limit
// or an interrupted run still sees short and long prompts.
constexpr std::array<std::int64_t, 8> kLengths{80, 144, 48, 208, 112, 176, 96, 160};

/// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }

  /// Uniform in [0, n): values above the largest multiple of n are drawn again, so that none is
  /// favoured.
  std::uint64_t below(std::uint64_t n) {
    const std::uint64_t excess = (~n + 1) % n;  // 2^64 mod n
    std::uint64_t value = next();
    while (value > ~excess) {
      value = next();
    }
    return value % n;
  }

 private:
  std::uint64_t state_;
};

/// The ids of [0, V) that may be drawn, as a mapping from a rank to an id.
class DrawableIds {
 public:
  explicit DrawableIds(const ModelLimits& limits) {
    for (const std::int32_t id : limits.special_ids) {
      if (id >= 0 && id < limits.vocab_size) {
        excluded_.push_back(id);
      }
    }
    std::sort(excluded_.begin(), excluded_.end());
    excluded_.erase(std::unique(excluded_.begin(), excluded_.end()), excluded_.end());
    count_ = limits.vocab_size - static_cast<std::int64_t>(excluded_.size());
  }

  std::int64_t count() const { return count_; }

  std::int32_t draw(SplitMix64& random) const {
    auto id = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(count_)));
    for (const std::int32_t excluded : excluded_) {  // ascending: step over each one below
      if (excluded > id) {
        break;
      }
      ++id;
    }
    return id;
  }

 private:
  std::vector<std::int32_t> excluded_;
  std::int64_t count_ = 0;
};

SuitePrompt make_prompt(std::int64_t index, const ModelLimits& limits, const DrawableIds& ids,
                        std::uint64_t seed) {
  const std::int64_t length =
      std::min(kLengths[static_cast<std::size_t>(index) % kLengths.size()], limits.max_tokens);
  const bool repeats = index % 3 == 2;
  SuitePrompt prompt;
  prompt.id = fmt::format("smoke-{:02}", index);
  prompt.tags = {repeats ? "repeat" : "random"};
  SplitMix64 random(seed);
  if (limits.bos) {
    prompt.input_ids.push_back(*limits.bos);
  }
  const std::int64_t start = prompt.tokens();
  const std::int64_t drawn = repeats ? (length - start + 1) / 2 : length - start;
  for (std::int64_t i = 0; i < drawn; ++i) {
    prompt.input_ids.push_back(ids.draw(random));
  }
  for (std::int64_t i = start; prompt.tokens() < length; ++i) {
    prompt.input_ids.push_back(prompt.input_ids[static_cast<std::size_t>(i)]);
  }
  return prompt;
}

}  // namespace

Suite make_smoke_suite(const ModelLimits& limits, std::uint64_t seed) {
  const DrawableIds ids(limits);
  if (limits.max_tokens < 2 || ids.count() < 2) {
    throw Error({.code = "suite.model-too-small",
                 .what = "the model is too small for the built-in suite",
                 .where = fmt::format("suite {}", kSmokeName),
                 .expected = "a context of 2 tokens and 2 ordinary token ids, or more",
                 .actual = fmt::format("a context of {}, {} ordinary token ids", limits.max_tokens,
                                       ids.count()),
                 .hint = "give a suite of your own with --suite FILE"});
  }
  Suite suite{.name = std::string(kSmokeName), .path = {}, .digest = {}, .prompts = {}};
  SplitMix64 seeds(seed);
  std::int64_t scored = 0;
  for (std::int64_t i = 0; i < kSmokeMinPrompts || scored < kSmokeMinScoredTokens; ++i) {
    suite.prompts.push_back(make_prompt(i, limits, ids, seeds.next()));
    scored += suite.prompts.back().tokens() - 1;
  }
  suite.digest = suite_digest(write_suite(suite));
  return suite;
}

}  // namespace mg
