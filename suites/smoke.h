// The built-in suite "smoke": token ids drawn by a seed, so that it needs no tokenizer and fits any
// model. It answers in seconds whether the lanes agree at all; it says nothing about natural text.
#pragma once

#include <cstdint>
#include <string_view>

#include "suites/suite.h"

namespace mg {

inline constexpr std::string_view kSmokeName = "smoke";
inline constexpr std::uint64_t kSmokeSeed = 20240501;  // a date, of no meaning
inline constexpr std::int64_t kSmokeMinPrompts = 24;
inline constexpr std::int64_t kSmokeMinScoredTokens = 3000;

/// At least 24 prompts and 3,000 scored tokens, the same for the same limits on every machine:
///  - prompt i has kLengths[i mod 8] tokens (48 to 208), or the context's length where that is
///  shorter; prompts
///    are added until both minima are reached;
///  - ids are uniform over [0, V) without special_ids: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)
///  seeded with
///    the i-th output of SplitMix64(seed), mapped to [0, n) by rejection of the top remainder;
///  - every third prompt ("repeat") says its first half twice, so that a model that copies becomes
///  certain and
///    near ties and sharp distributions are both covered; the others are tagged "random";
///  - the first id is the bos where the model has one.
/// Throws Error "suite.model-too-small" for a context under 2 tokens or fewer than 2 ids that can
/// be drawn.
Suite make_smoke_suite(const ModelLimits& limits, std::uint64_t seed = kSmokeSeed);

}  // namespace mg
