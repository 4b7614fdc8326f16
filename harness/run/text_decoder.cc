#include "harness/run/text_decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "harness/metrics/random.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

/// The token with the largest logit; nothing where one is NaN or none is finite.
std::optional<std::int32_t> most_likely(std::span<const float> logits) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) {
      return std::nullopt;
    }
    if (logits[i] > logits[best]) {
      best = i;
    }
  }
  if (logits.empty() || !std::isfinite(logits[best])) {
    return std::nullopt;
  }
  return static_cast<std::int32_t>(best);
}

/// Ids that sampling may choose, in ascending order.
std::vector<std::int32_t> candidates(std::span<const double> weights, const Sampling& sampling) {
  std::vector<std::int32_t> ids(weights.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto likelier = [&](std::int32_t left, std::int32_t right) {
    const double a = weights[static_cast<std::size_t>(left)];
    const double b = weights[static_cast<std::size_t>(right)];
    return a != b ? a > b : left < right;
  };
  const bool cut_k = sampling.top_k > 0 && static_cast<std::size_t>(sampling.top_k) < ids.size();
  if (cut_k || sampling.top_p < 1) {
    std::sort(ids.begin(), ids.end(), likelier);
  }
  if (cut_k) {
    ids.resize(static_cast<std::size_t>(sampling.top_k));
  }
  if (sampling.top_p < 1) {
    double total = 0;
    for (const std::int32_t id : ids) {
      total += weights[static_cast<std::size_t>(id)];
    }
    double sum = 0;
    std::size_t kept = 0;
    while (kept < ids.size() && sum < sampling.top_p * total) {
      sum += weights[static_cast<std::size_t>(ids[kept++])];
    }
    ids.resize(std::max<std::size_t>(kept, 1));
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

/// One lane's way through one prompt.
struct Way {
  LaneText text;
  bool done = false;
  std::int32_t next = 0;  // the token to feed
};

/// The batch as it goes.
class Texts {
 public:
  Texts(std::span<const Lane> lanes, std::span<const TextRequest> requests,
        const TextOptions& options)
      : lanes_(lanes), requests_(requests), options_(options) {
    results_.resize(requests.size());
    ways_.resize(requests.size(), std::vector<Way>(lanes.size()));
    for (TextResult& result : results_) {
      result.partings.resize(options.pairs.size());
    }
  }

  std::vector<TextResult> run(const std::function<void(double)>& progress) {
    std::vector<std::int64_t> capacities;
    std::int64_t steps = 0;
    for (const TextRequest& request : requests_) {
      MG_CHECK(!request.ids.empty() && request.max_tokens > 0, "a prompt to go on from");
      capacities.push_back(static_cast<std::int64_t>(request.ids.size()) + request.max_tokens);
      if (options_.context > 0) {
        capacities.back() = std::min(capacities.back(), options_.context);
      }
      steps = std::max(steps, request.max_tokens);
    }
    Decoder decoder(lanes_, capacities, options_.decoder);
    std::vector<NewTokens> tokens;
    for (std::size_t p = 0; p < requests_.size(); ++p) {
      tokens.push_back({.prompt = p, .ids = {requests_[p].ids}, .rope_length = 0});
    }
    for (std::int64_t step = 0; !tokens.empty(); ++step) {
      decoder.advance(tokens, StepRows::kLast, [&](const LogitChunk& chunk) {
        for (std::int64_t row = 0; row < chunk.rows; ++row) {
          choose(tokens[static_cast<std::size_t>(chunk.first_row + row)].prompt, step, chunk, row);
        }
      });
      tokens = next_tokens(decoder, capacities);
      progress(static_cast<double>(step + 1) / static_cast<double>(steps));
    }
    for (std::size_t p = 0; p < ways_.size(); ++p) {
      for (Way& way : ways_[p]) {
        results_[p].lanes.push_back(std::move(way.text));
      }
    }
    return std::move(results_);
  }

 private:
  void choose(std::size_t prompt, std::int64_t step, const LogitChunk& chunk, std::int64_t row) {
    const double uniform = uniform_of(options_.sampling.seed, options_.first_prompt + prompt,
                                      static_cast<std::uint64_t>(step));
    std::vector<std::span<const float>> logits;
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      logits.push_back(chunk.lanes[lane].subspan(static_cast<std::size_t>(row * chunk.vocab[lane]),
                                                 static_cast<std::size_t>(chunk.vocab[lane])));
      Way& way = ways_[prompt][lane];
      if (way.done) {
        continue;
      }
      const auto token = choose_token(logits[lane], options_.sampling, uniform);
      if (!token) {
        way.done = true;
        way.text.stop = StopReason::kNotFinite;
        continue;
      }
      way.next = *token;
      way.text.ids.push_back(*token);
      const std::vector<std::int32_t>& stops = options_.stop_ids[lane];
      if (std::find(stops.begin(), stops.end(), *token) != stops.end()) {
        way.done = true;
        way.text.stop = StopReason::kEndOfText;
      } else if (step + 1 == requests_[prompt].max_tokens) {
        way.done = true;
        way.text.stop = StopReason::kLength;
      }
    }
    note_partings(prompt, step, logits);
  }

  /// Both lanes have chosen their token of this step, and as yet they agreed.
  void note_partings(std::size_t prompt, std::int64_t step,
                     const std::vector<std::span<const float>>& logits) {
    const auto length = static_cast<std::size_t>(step + 1);
    for (std::size_t i = 0; i < options_.pairs.size(); ++i) {
      const auto [reference, subject] = options_.pairs[i];
      const std::vector<std::int32_t>& left = ways_[prompt][reference].text.ids;
      const std::vector<std::int32_t>& right = ways_[prompt][subject].text.ids;
      std::optional<Parting>& parting = results_[prompt].partings[i];
      if (parting || left.size() != length || right.size() != length ||
          left.back() == right.back()) {
        continue;
      }
      const auto gap = [&](std::size_t lane, std::int32_t own, std::int32_t other) {
        return static_cast<double>(logits[lane][static_cast<std::size_t>(own)]) -
               static_cast<double>(logits[lane][static_cast<std::size_t>(other)]);
      };
      parting = {.position = step,
                 .reference_id = left.back(),
                 .subject_id = right.back(),
                 .reference_gap = gap(reference, left.back(), right.back()),
                 .subject_gap = gap(subject, right.back(), left.back())};
    }
  }

  /// A token for each lane of every prompt that some lane goes on with; a lane that has ended
  /// repeats itself, and nobody looks.
  std::vector<NewTokens> next_tokens(const Decoder& decoder,
                                     const std::vector<std::int64_t>& capacities) {
    std::vector<NewTokens> tokens;
    for (std::size_t p = 0; p < ways_.size(); ++p) {
      if (decoder.length(p) >= capacities[p]) {
        for (Way& way : ways_[p]) {
          way.text.stop = way.done ? way.text.stop : StopReason::kContext;
          way.done = true;
        }
      }
      if (std::all_of(ways_[p].begin(), ways_[p].end(), [](const Way& way) { return way.done; })) {
        continue;
      }
      NewTokens next{.prompt = p, .ids = {}, .rope_length = 0};
      for (const Way& way : ways_[p]) {
        next.ids.push_back({way.next});
      }
      tokens.push_back(std::move(next));
    }
    return tokens;
  }

  std::span<const Lane> lanes_;
  std::span<const TextRequest> requests_;
  const TextOptions& options_;
  std::vector<TextResult> results_;
  std::vector<std::vector<Way>> ways_;  // [prompt][lane]
};

}  // namespace

double uniform_of(std::uint64_t seed, std::uint64_t prompt, std::uint64_t step) {
  constexpr double kUnit = 0x1p-53;
  SplitMix64 random(SplitMix64::mix(SplitMix64::mix(SplitMix64::mix(seed) + prompt) + step));
  return static_cast<double>(random.next() >> 11U) * kUnit;
}

std::optional<std::int32_t> choose_token(std::span<const float> logits, const Sampling& sampling,
                                         double uniform) {
  const std::optional<std::int32_t> best = most_likely(logits);
  if (!best || sampling.temperature == 0) {
    return best;
  }
  std::vector<double> weights;
  weights.reserve(logits.size());
  const auto high = static_cast<double>(logits[static_cast<std::size_t>(*best)]);
  for (const float logit : logits) {
    weights.push_back(std::exp((static_cast<double>(logit) - high) / sampling.temperature));
  }
  const std::vector<std::int32_t> ids = candidates(weights, sampling);
  double total = 0;
  for (const std::int32_t id : ids) {
    total += weights[static_cast<std::size_t>(id)];
  }
  double sum = 0;
  for (const std::int32_t id : ids) {
    sum += weights[static_cast<std::size_t>(id)];
    if (uniform * total < sum) {
      return id;
    }
  }
  return best;  // rounding left the number beyond the last sum
}

std::vector<TextResult> decode_texts(std::span<const Lane> lanes,
                                     std::span<const TextRequest> requests,
                                     const TextOptions& options,
                                     const std::function<void(double)>& progress) {
  MG_CHECK(options.stop_ids.size() == lanes.size(), "stop ids for every lane");
  return Texts(lanes, requests, options).run(progress);
}

}  // namespace mg
