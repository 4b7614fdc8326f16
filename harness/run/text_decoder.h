// Texts of several lanes from the same prompts, token by token: greedy, or sampled with a seed.
// Not for: scoring them (generate.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/lanes/decoder.h"
#include "harness/result/generation.h"

namespace mg {

struct Sampling {
  double temperature = 0;  // 0: the most likely token; ties to the lower id
  double top_p = 1;        // the fewest most likely tokens that hold this much probability
  std::int64_t top_k = 0;  // of this many most likely tokens; 0: of all
  std::uint64_t seed = 1;
};

/// The next token, or nothing where a logit is NaN or none is finite.  `uniform` in [0, 1) decides
/// where there is a choice: tokens in the order of their ids share it out, so that two lanes of
/// nearly the same probabilities pick the same token for nearly every number.
std::optional<std::int32_t> choose_token(std::span<const float> logits, const Sampling& sampling,
                                         double uniform);
/// The number for a prompt's step: the same for every lane, batch and machine.
double uniform_of(std::uint64_t seed, std::uint64_t prompt, std::uint64_t step);

/// What a prompt is to be continued with.
struct TextRequest {
  std::vector<std::int32_t> ids;
  std::int64_t max_tokens = 0;  // 1 or more
};

struct LaneText {
  std::vector<std::int32_t> ids;
  StopReason stop = StopReason::kLength;
};

/// The first step in which two lanes chose otherwise.
struct Parting {
  std::int64_t position = 0;
  std::int32_t reference_id = 0;
  std::int32_t subject_id = 0;
  double reference_gap = 0;
  double subject_gap = 0;
};

struct WritingPair {
  std::size_t reference = 0;
  std::size_t subject = 0;
};

struct TextResult {
  std::vector<LaneText> lanes;
  std::vector<std::optional<Parting>> partings;  // beside the pairs
};

struct TextOptions {
  Sampling sampling;
  std::vector<std::vector<std::int32_t>> stop_ids;  // of each lane: end the text
  std::vector<WritingPair> pairs;
  std::size_t first_prompt = 0;  // number of requests[0] in the run: seeds depend on it
  std::int64_t context = 0;      // tokens that a model takes; 0: no limit
  DecoderOptions decoder;
};

/// All requests are one batch.  `progress` is called with the share of the steps done.
std::vector<TextResult> decode_texts(std::span<const Lane> lanes,
                                     std::span<const TextRequest> requests,
                                     const TextOptions& options,
                                     const std::function<void(double)>& progress);

}  // namespace mg
