// What the lanes wrote when they went on from the same prompts, side by side.  Filled by
// harness/run/generate.cc, written by reports/.  Not for: judging it (verdict.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

enum class StopReason {
  kEndOfText,  // a token that ends a text
  kLength,     // as many tokens as were asked for
  kContext,    // the model's context was full
  kNotFinite,  // the logits held a NaN, or no finite value at all
};

/// "end", "length", "context", "not_finite".
std::string_view stop_reason_name(StopReason reason);
std::optional<StopReason> stop_reason_from_name(std::string_view name);

struct GeneratedText {
  std::string lane;
  std::vector<std::int32_t> ids;  // the token that ended it included
  std::string text;               // without that token; empty where no tokenizer is known
  StopReason stop = StopReason::kLength;
  double repetition = 0;             // share of its runs of 4 tokens that occurred before
  std::optional<bool> passed;        // the prompt's expectations; absent: it has none
  std::vector<std::string> not_met;  // one sentence each
};

/// Where two lanes' texts part: they have read the same tokens so far.
struct Departure {
  std::string reference;
  std::string subject;
  std::int64_t position = 0;  // generated tokens before it
  std::int64_t reference_id = 0;
  std::int64_t subject_id = 0;
  std::string reference_token;
  std::string subject_token;
  std::optional<double> reference_gap;  // logit of its own choice minus that of the subject's
  std::optional<double> subject_gap;    // the other way round
  std::optional<bool> near_tie;  // both gaps within the margin; absent without one, or sampled
};

struct GeneratedPrompt {
  std::string prompt;
  std::int64_t tokens = 0;  // that the lanes went on from
  std::vector<GeneratedText> texts;
  std::vector<Departure> departures;
};

/// Two lanes over all prompts.
struct GenerationPair {
  std::string reference;
  std::string subject;
  std::int64_t prompts = 0;
  std::int64_t identical = 0;         // token by token
  std::int64_t near_ties = 0;         // parted at a near tie
  std::int64_t real = 0;              // parted where neither lane hesitated
  std::int64_t unjudged = 0;          // parted, and no margin to judge it by
  std::optional<double> edit_share;   // mean of edit distance / longer text, in tokens
  std::int64_t scenarios_lost = 0;    // passed by the reference alone
  std::int64_t scenarios_gained = 0;  // passed by the subject alone
};

struct StopCount {
  StopReason reason = StopReason::kLength;
  std::int64_t prompts = 0;
};

struct GenerationLane {
  std::string lane;
  std::int64_t tokens = 0;
  std::vector<StopCount> stops;  // those that occurred
  std::optional<double> repetition;
  std::int64_t scenarios = 0;  // prompts with expectations
  std::int64_t passed = 0;
};

struct GenerationResult {
  std::int64_t max_tokens = 0;
  double temperature = 0;  // 0: greedy
  double top_p = 1;
  std::int64_t top_k = 0;
  std::uint64_t seed = 0;
  std::optional<double> margin;  // logit gap within which a departure is a near tie
  std::string margin_basis;
  std::vector<GenerationLane> lanes;
  std::vector<GenerationPair> pairs;
  std::vector<GeneratedPrompt> prompts;
};

}  // namespace mg
