#include "harness/client/compare_logprobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/metrics/equivalence.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

/// Columns of the sums by prompt.
enum Column : std::int64_t { kDifference, kCount, kColumns };

void count_once(std::int64_t& count, std::string& first, const std::string& what) {
  if (count++ == 0) {
    first = what;
  }
}

std::string place_text(const std::string& prompt, std::size_t position, const std::string& what) {
  return fmt::format("prompt \"{}\", token {}: {}", prompt, position, what);
}

/// What the positions add up to, prompt by prompt.
class LogprobSums {
 public:
  LogprobSums(std::span<const ComparedAnswer> answers, ServerLogprobs& result)
      : result_(result), by_prompt_(std::ssize(answers), kColumns) {
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const ComparedAnswer& answer = answers[i];
      MG_CHECK(answer.server.size() == answer.engine.size(), "an engine's row for each token");
      for (std::size_t t = 0; t < answer.server.size(); ++t) {
        add(answer, static_cast<std::int64_t>(i), t);
      }
    }
  }

  void finish(const BootstrapPlan& bootstrap, ThreadPool& pool) {
    const auto mean_of = [](double sum, std::int64_t count) {
      return count == 0 ? std::nullopt : std::optional(sum / static_cast<double>(count));
    };
    result_.top1 = mean_of(static_cast<double>(same_top_), with_top_);
    result_.top_share = mean_of(static_cast<double>(found_), listed_);
    result_.top_mean = mean_of(top_difference_, top_compared_);
    if (floor_finite_) {
      result_.floor = mean_of(floor_, result_.positions);
    }
    if (result_.positions == 0) {
      return;
    }
    std::optional<ClusterTable> drawn;
    if (by_prompt_.clusters >= kBootstrapClusters) {
      drawn = bootstrap_totals(by_prompt_, bootstrap, pool);
    }
    if (const auto mean = estimate_mean(by_prompt_, kDifference, kCount, Sign::kNonNegative,
                                        drawn ? &*drawn : nullptr)) {
      result_.mean = mean->value;
      result_.ci95 = mean->ci95;
      result_.ci90 = mean->ci90;
    }
  }

 private:
  void add(const ComparedAnswer& answer, std::int64_t cluster, std::size_t t) {
    const KnownPosition& server = answer.server[t];
    const LogprobRow& engine = answer.engine[t];
    if (!engine.finite) {
      ++result_.engine_non_finite;
      return;
    }
    if (server.chosen.server) {
      add_chosen(answer, cluster, t);
    }
    add_listed(server, engine);
  }

  void add_chosen(const ComparedAnswer& answer, std::int64_t cluster, std::size_t t) {
    const KnownToken& chosen = answer.server[t].chosen;
    const LogprobRow& engine = answer.engine[t];
    const double difference = std::abs(*chosen.server - engine.exact.front());
    ++result_.positions;
    by_prompt_.row(cluster)[kDifference] += difference;
    by_prompt_.row(cluster)[kCount] += 1;
    const double own = std::abs(engine.rounded.front() - engine.exact.front());
    floor_finite_ = floor_finite_ && std::isfinite(own);
    floor_ += own;
    if (!result_.max || difference > *result_.max) {
      result_.max = difference;
      result_.worst = Place{answer.prompt, static_cast<std::int64_t>(t), chosen.id};
      result_.worst_text = chosen.text;
      result_.worst_server = chosen.server;
      result_.worst_engine = engine.exact.front();
    }
  }

  void add_listed(const KnownPosition& server, const LogprobRow& engine) {
    bool same = false;
    bool any = false;
    for (std::size_t i = 0; i < server.top.size(); ++i) {
      const KnownToken& token = server.top[i];
      ++listed_;
      found_ += engine.in_top[i + 1] ? 1 : 0;
      if (!token.server) {
        continue;
      }
      ++top_compared_;
      top_difference_ += std::abs(*token.server - engine.exact[i + 1]);
      any = true;
      // 16-bit logits often tie: any of the likeliest may be the one.
      same = same || (*token.server == *server.top.front().server && token.id == engine.top);
    }
    with_top_ += any ? 1 : 0;
    same_top_ += same ? 1 : 0;
  }

  ServerLogprobs& result_;
  ClusterTable by_prompt_;
  std::int64_t with_top_ = 0;
  std::int64_t same_top_ = 0;
  std::int64_t listed_ = 0;
  std::int64_t found_ = 0;
  std::int64_t top_compared_ = 0;
  double top_difference_ = 0;
  double floor_ = 0;
  bool floor_finite_ = true;
};

void judge_difference(const ServerLane& lane, Verdict& verdict) {
  switch (decide_upper(*verdict.ci90, *verdict.limit)) {
    case Decision::kInside:
      verdict.status = GateStatus::kPass;
      verdict.reason = "the server's log-probabilities are the engine's";
      break;
    case Decision::kOutside:
      verdict.status = GateStatus::kFail;
      verdict.reason =
          fmt::format("\"{}\" on the server does not answer as the folders do", lane.model);
      break;
    case Decision::kUndecided:
      verdict.status = GateStatus::kInconclusive;
      verdict.reason = "the interval holds the limit: more prompts could decide";
      break;
  }
}

}  // namespace

std::vector<KnownPosition> known_positions(const LogprobAnswer& answer, const std::string& prompt,
                                           TokenIds& ids, ServerLogprobs& result) {
  std::vector<KnownPosition> known;
  for (std::size_t t = 0; t < answer.positions.size(); ++t) {
    const LogprobPosition& position = answer.positions[t];
    const auto known_token = [&](const TokenLogprob& token) -> std::optional<KnownToken> {
      const TokenIds::Found found = ids.find(token);
      if (!found.id) {
        count_once(result.unknown, result.first_unknown, place_text(prompt, t, found.why));
        return std::nullopt;
      }
      if (!token.logprob) {
        count_once(result.unusable, result.first_unusable,
                   place_text(prompt, t, fmt::format("\"{}\" has {}", token.text, token.value)));
      }
      return KnownToken{*found.id, token.text, token.logprob};
    };
    const auto chosen = known_token(position.chosen);
    if (!chosen) {
      result.left_out += std::ssize(answer.positions) - static_cast<std::int64_t>(t);
      break;
    }
    result.left_out += chosen->server ? 0 : 1;
    KnownPosition& place = known.emplace_back(KnownPosition{*chosen, {}});
    for (const TokenLogprob& token : position.top) {
      const auto other = known_token(token);
      if (other && std::none_of(place.top.begin(), place.top.end(),
                                [&](const KnownToken& before) { return before.id == other->id; })) {
        place.top.push_back(*other);
      }
    }
    // vLLM lists the written token too where it is none of the likeliest.
    result.short_lists += std::ssize(position.top) < result.top ? 1 : 0;
    if (std::ssize(place.top) > result.top) {
      place.top.resize(static_cast<std::size_t>(result.top));
    }
  }
  return known;
}

void summarise_logprobs(std::span<const ComparedAnswer> answers, const BootstrapPlan& bootstrap,
                        ThreadPool& pool, ServerLogprobs& result) {
  LogprobSums(answers, result).finish(bootstrap, pool);
}

Verdict judge_logprobs(const ServerLane& lane) {
  const ServerLogprobs& logprobs = *lane.logprobs;
  Verdict verdict;
  verdict.gate = "server.logprobs";
  verdict.subject = lane.lane;
  verdict.unit = "nat";
  verdict.value = logprobs.mean;
  verdict.ci95 = logprobs.ci95;
  verdict.ci90 = logprobs.ci90;
  verdict.floor = logprobs.floor;
  verdict.limit = std::max(kLogprobFloors * logprobs.floor.value_or(0), kLogprobSlack);
  verdict.basis = fmt::format("max({} x floor, {})", kLogprobFloors, kLogprobSlack);
  verdict.status = GateStatus::kInconclusive;
  if (logprobs.engine_non_finite > 0) {
    verdict.status = GateStatus::kFail;
    verdict.reason =
        fmt::format("the engine's logits are not finite in {} of {} places",
                    logprobs.engine_non_finite, logprobs.engine_non_finite + logprobs.positions);
  } else if (logprobs.positions == 0 || !logprobs.mean) {
    verdict.reason = "nothing could be compared: " +
                     (logprobs.unknown > 0    ? logprobs.first_unknown
                      : logprobs.unusable > 0 ? logprobs.first_unusable
                      : logprobs.failed > 0   ? logprobs.first_failure
                                              : std::string("no prompt has room for an answer"));
  } else if (logprobs.left_out > logprobs.positions || 2 * logprobs.failed > logprobs.prompts) {
    verdict.reason = fmt::format(
        "too few could be compared: {} tokens were left out, {} of {} "
        "requests failed",
        logprobs.left_out, logprobs.failed, logprobs.prompts);
  } else if (!verdict.ci90) {
    verdict.reason = fmt::format("fewer than {} prompts give no interval", kFewestClusters);
  } else {
    judge_difference(lane, verdict);
  }
  return verdict;
}

}  // namespace mg
