#include "harness/client/server_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "harness/metrics/quantile.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

/// A model's part in one round: both of its turns.
struct LaneRound {
  bool whole = true;  // every request was answered
  double seconds = 0;
  std::int64_t events = 0;             // with text
  std::optional<std::int64_t> tokens;  // as the server counts; nothing where it once did not
  std::vector<double> first_token;
  double writing_s = 0;  // from each answer's first text to its last
  std::int64_t answers = 0;
};

/// What is kept of a model over the rounds.
struct LaneLog {
  std::vector<LaneRound> rounds;
  std::vector<double> first_token;
  std::vector<double> gaps;
  std::vector<double> whole;
  double prompt_tokens = 0;
  std::int64_t prompt_counts = 0;
  std::int64_t usable = 0;  // of measured rounds
  std::int64_t unnamed = 0;
  std::int64_t failed = 0;  // of all requests
  std::int64_t blocks = 0;  // turns taken
  std::vector<HttpAnswer> raw;
};

class ServerBench {
 public:
  ServerBench(const ServerBenchOptions& options, const SendRequests& send,
              const std::function<void(double)>& progress)
      : options_(options),
        send_(send),
        progress_(progress),
        clock_(options.clock ? options.clock : wall_clock()),
        logs_(options.models.size()) {
    MG_CHECK(!options.models.empty() && !options.prompts.empty(), "there is something to ask");
    for (const ServerModel& model : options.models) {
      ServerLane lane;
      lane.lane = model.lane;
      lane.model = model.model;
      result_.lanes.push_back(std::move(lane));
      std::vector<HttpRequest>& bodies = requests_.emplace_back();
      for (const ServerPrompt& prompt : options.prompts) {
        bodies.push_back(
            completion_request(options.url.base, model.model, prompt, options.completion));
      }
    }
  }

  ServerRun run() {
    describe();
    bool alive = round(0, /*measured=*/false);
    for (std::int64_t i = 1; alive && i <= options_.rounds; ++i) {
      alive = round(static_cast<std::size_t>(i), /*measured=*/true);
      progress_(static_cast<double>(i) / static_cast<double>(options_.rounds));
    }
    count_by_usage_ = std::all_of(logs_.begin(), logs_.end(), [](const LaneLog& log) {
      return std::all_of(log.rounds.begin(), log.rounds.end(),
                         [](const LaneRound& round) { return round.tokens.has_value(); });
    });
    for (std::size_t lane = 0; lane < logs_.size(); ++lane) {
      summarise(lane);
      run_.verdicts.push_back(judge_answers(lane));
    }
    add_ratios();
    add_notes();
    run_.result.margin = options_.margin;
    run_.result.server = std::move(result_);
    return std::move(run_);
  }

 private:
  void describe() {
    result_.url = options_.url.base;
    std::set<std::string> endpoints;
    for (const ServerPrompt& prompt : options_.prompts) {
      endpoints.insert(prompt.chat ? "chat/completions" : "completions");
    }
    result_.endpoint = fmt::format("{}", fmt::join(endpoints, ", "));
    result_.concurrency = options_.concurrency;
    result_.rate = options_.rate;
    result_.max_tokens = options_.completion.max_tokens;
    result_.requests = options_.requests;
    result_.rounds = options_.rounds;
  }

  std::size_t prompt_of(std::int64_t block, std::int64_t request) const {
    return static_cast<std::size_t>(block * options_.requests + request) % options_.prompts.size();
  }

  void turn(std::size_t lane) {
    LaneLog& log = logs_[lane];
    std::vector<HttpRequest> requests;
    for (std::int64_t i = 0; i < options_.requests; ++i) {
      requests.push_back(requests_[lane][prompt_of(log.blocks, i)]);
    }
    ++log.blocks;
    for (HttpAnswer& answer : send_(requests)) {
      log.raw.push_back(std::move(answer));
    }
  }

  /// False where a model gave no whole answer at all: to go on would only take time.
  bool round(std::size_t number, bool measured) {
    std::vector<BenchTurn> turns;
    for (std::size_t lane = 0; lane < logs_.size(); ++lane) {
      logs_[lane].raw.clear();
      turns.push_back([this, lane] { turn(lane); });
    }
    const std::vector<double> seconds = run_round(turns, clock_, number);
    bool alive = true;
    for (std::size_t lane = 0; lane < logs_.size(); ++lane) {
      LaneRound round = read_round(lane, measured);
      round.seconds = seconds[lane];
      alive = alive && round.answers > 0;
      if (measured) {
        logs_[lane].rounds.push_back(std::move(round));
      }
    }
    return alive;
  }

  /// Reads what the lane's turns brought; not in the measured time.
  LaneRound read_round(std::size_t lane, bool measured) {
    LaneLog& log = logs_[lane];
    LaneRound round;
    round.tokens = 0;
    for (std::size_t i = 0; i < log.raw.size(); ++i) {
      const HttpAnswer& raw = log.raw[i];
      const auto block = log.blocks - 2 + static_cast<std::int64_t>(i) / options_.requests;
      const std::size_t prompt = prompt_of(block, static_cast<std::int64_t>(i) % options_.requests);
      const Answer answer = read_answer(raw, {.model = options_.models[lane].model,
                                              .chat = options_.prompts[prompt].chat,
                                              .max_tokens = options_.completion.max_tokens});
      count(lane, answer);
      if (options_.rate) {
        result_.latest_s = std::max(result_.latest_s.value_or(0), raw.sent - raw.due);
      }
      if (!answer.usable()) {
        round.whole = false;
        continue;
      }
      add(answer, round);
      if (measured) {
        keep(answer, log);
      }
    }
    return round;
  }

  void count(std::size_t lane, const Answer& answer) {
    ServerLane& result = result_.lanes[lane];
    ++result.requests;
    logs_[lane].failed += answer.usable() ? 0 : 1;
    logs_[lane].unnamed += answer.usable() && !answer.names_model ? 1 : 0;
    const auto known =
        std::find_if(result.outcomes.begin(), result.outcomes.end(),
                     [&](const ServerOutcome& outcome) { return outcome.name == answer.name; });
    if (known != result.outcomes.end()) {
      ++known->requests;
      return;
    }
    result.outcomes.push_back({.name = answer.name,
                               .requests = 1,
                               .usable = answer.usable(),
                               .example = without_key(answer.detail, options_.key)});
  }

  static void add(const Answer& answer, LaneRound& round) {
    ++round.answers;
    round.events += std::ssize(answer.texts);
    if (answer.tokens && round.tokens) {
      *round.tokens += *answer.tokens;
    } else {
      round.tokens.reset();
    }
    round.first_token.push_back(answer.texts.front() - answer.sent);
    round.writing_s += answer.texts.back() - answer.texts.front();
  }

  static void keep(const Answer& answer, LaneLog& log) {
    ++log.usable;
    log.first_token.push_back(answer.texts.front() - answer.sent);
    log.whole.push_back(answer.texts.back() - answer.sent);
    for (std::size_t i = 1; i < answer.texts.size(); ++i) {
      log.gaps.push_back(answer.texts[i] - answer.texts[i - 1]);
    }
    if (answer.prompt_tokens) {
      log.prompt_tokens += static_cast<double>(*answer.prompt_tokens);
      ++log.prompt_counts;
    }
  }

  double tokens_of(const LaneRound& round) const {
    return static_cast<double>(count_by_usage_ ? *round.tokens : round.events);
  }

  /// Rounds in which every request of every model was answered.
  std::vector<std::size_t> whole_rounds() const {
    std::vector<std::size_t> whole;
    for (std::size_t i = 0; i < logs_.front().rounds.size(); ++i) {
      if (std::all_of(logs_.begin(), logs_.end(),
                      [i](const LaneLog& log) { return log.rounds[i].whole; })) {
        whole.push_back(i);
      }
    }
    return whole;
  }

  void summarise(std::size_t lane) {
    ServerLane& result = result_.lanes[lane];
    LaneLog& log = logs_[lane];
    std::stable_sort(result.outcomes.begin(), result.outcomes.end(),
                     [](const ServerOutcome& left, const ServerOutcome& right) {
                       return left.requests > right.requests;
                     });
    std::vector<double> seconds;  // per token
    for (const std::size_t round : whole_rounds()) {
      const double each = log.rounds[round].seconds / tokens_of(log.rounds[round]);
      if (each > 0) {
        seconds.push_back(each);
      }
    }
    const BenchRate rate = rate_of(seconds, 1, options_.bootstrap);
    result.rounds = rate.rounds;
    result.tokens_per_s = rate.tokens_per_s;
    result.ci95 = rate.ci95;
    result.first_token = summarise_latency(log.first_token);
    result.inter_token = summarise_latency(log.gaps);
    result.whole = summarise_latency(log.whole);
    if (log.usable == 0) {
      return;
    }
    double tokens = 0;
    for (const LaneRound& round : log.rounds) {
      tokens += tokens_of(round);
    }
    result.tokens = tokens / static_cast<double>(log.usable);
    result.tokens_counted = count_by_usage_ ? "usage" : "events";
    if (log.prompt_counts > 0) {
      result.prompt_tokens = log.prompt_tokens / static_cast<double>(log.prompt_counts);
    }
  }

  template <typename Of>
  void add_ratio(std::string phase, std::size_t subject, const Of& seconds_of) {
    std::vector<double> reference_s;
    std::vector<double> subject_s;
    for (const std::size_t round : whole_rounds()) {
      const double left = seconds_of(logs_.front().rounds[round]);
      const double right = seconds_of(logs_[subject].rounds[round]);
      if (std::isfinite(left) && left > 0 && std::isfinite(right) && right > 0) {
        reference_s.push_back(left);
        subject_s.push_back(right);
      }
    }
    BenchRatio ratio = ratio_of(reference_s, subject_s, options_.margin, options_.bootstrap);
    ratio.phase = std::move(phase);
    ratio.reference = options_.models.front().lane;
    ratio.subject = options_.models[subject].lane;
    ratio.length = options_.completion.max_tokens;
    ratio.batch = options_.concurrency;
    run_.verdicts.push_back(judge_ratio(ratio, options_.margin, "server." + ratio.phase));
    run_.result.ratios.push_back(std::move(ratio));
  }

  void add_ratios() {
    for (std::size_t subject = 1; subject < logs_.size(); ++subject) {
      add_ratio("throughput", subject,
                [this](const LaneRound& round) { return round.seconds / tokens_of(round); });
      add_ratio("first-token", subject, [](const LaneRound& round) {
        std::vector<double> sorted = round.first_token;
        std::sort(sorted.begin(), sorted.end());
        return quantile_of_sorted(sorted, 0.5);
      });
      if (options_.completion.max_tokens > 1) {
        add_ratio("inter-token", subject, [this](const LaneRound& round) {
          return round.writing_s / (tokens_of(round) - static_cast<double>(round.answers));
        });
      }
    }
  }

  /// Every request is to be answered.  Where the reference's are not, nothing is wrong with the
  /// subject, but nothing can be said of the two.
  Verdict judge_answers(std::size_t lane) const {
    const ServerLane& result = result_.lanes[lane];
    const bool is_subject = lane + 1 == logs_.size();
    Verdict verdict;
    verdict.gate = "server.answers";
    verdict.subject = result.lane;
    verdict.unit = "share";
    const double failed = static_cast<double>(logs_[lane].failed);
    verdict.value = failed / static_cast<double>(result.requests);
    verdict.limit = options_.error_limit;
    verdict.basis = "requests without a whole answer";
    if (*verdict.value <= options_.error_limit) {
      verdict.status = GateStatus::kPass;
      verdict.reason = failed == 0 ? "every request was answered" : "few went without an answer";
      return verdict;
    }
    verdict.status = is_subject ? GateStatus::kFail : GateStatus::kInconclusive;
    verdict.reason = fmt::format("{} of {} requests to {} failed: {}", logs_[lane].failed,
                                 result.requests, result.model, failures(result));
    return verdict;
  }

  static std::string failures(const ServerLane& lane) {
    std::string text;
    for (const ServerOutcome& outcome : lane.outcomes) {
      if (!outcome.usable) {
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", outcome.requests, outcome.name);
      }
    }
    return text;
  }

  void note(std::string rule, Severity severity, std::string message, std::string expected,
            std::string actual) {
    run_.findings.push_back({.rule = std::move(rule),
                             .catalogue = {},
                             .severity = severity,
                             .command = "bench",
                             .subject = options_.url.base,
                             .message = std::move(message),
                             .expected = std::move(expected),
                             .actual = std::move(actual),
                             .fix = std::nullopt});
  }

  void add_notes() {
    const auto any = [this](const auto& of) { return std::any_of(logs_.begin(), logs_.end(), of); };
    const auto measured = std::ssize(logs_.front().rounds);
    const auto asked = 2 * (measured + 1) * options_.requests;
    if (asked > std::ssize(options_.prompts)) {
      note("server.prompts-again", Severity::kNote,
           "prompts came again, and a server that caches prefixes answers those faster, for every "
           "model alike",
           fmt::format("{} prompts", asked), fmt::format("{} prompts", options_.prompts.size()));
    }
    if (any([](const LaneLog& log) { return log.usable > 0; }) && !count_by_usage_) {
      note("server.no-usage", Severity::kWarning,
           "the server does not count its tokens: events with text were counted instead, which "
           "may hold several",
           "\"usage\" at the end of each answer", "answers without it");
    }
    if (any([](const LaneLog& log) { return log.unnamed > 0; })) {
      note("server.no-name", Severity::kWarning,
           "the server does not say which model answers, so that it was not checked",
           "\"model\" in each event", "answers without it");
    }
    for (const ServerLane& lane : result_.lanes) {
      for (const ServerOutcome& outcome : lane.outcomes) {
        if (outcome.name == "no-done") {
          note("server.no-done", Severity::kWarning,
               fmt::format("{} answers of {} are whole by their finish_reason but do not end as "
                           "streams do",
                           outcome.requests, lane.model),
               "[DONE]", "the end of the answer");
        }
      }
    }
    if (!options_.key.empty() && !options_.url.encrypted && !options_.url.loopback) {
      note("server.key-in-the-clear", Severity::kWarning,
           "the key went over the network unencrypted", "https", "http");
    }
    if (const auto whole = std::ssize(whole_rounds()); whole < measured) {
      note("server.rounds-left-out", Severity::kWarning,
           "rounds in which a request failed were left out of the ratios",
           fmt::format("{} rounds", measured), fmt::format("{} rounds", whole));
    }
    if (measured < options_.rounds) {
      note("server.ended-early", Severity::kWarning,
           "the run ended early: a model gave no whole answer in a round",
           fmt::format("{} rounds", options_.rounds), fmt::format("{} rounds", measured));
    }
  }

  const ServerBenchOptions& options_;
  const SendRequests& send_;
  const std::function<void(double)>& progress_;
  BenchClock clock_;
  std::vector<LaneLog> logs_;
  std::vector<std::vector<HttpRequest>> requests_;  // [model][prompt]
  bool count_by_usage_ = false;
  ServerResult result_;
  ServerRun run_;
};

/// A percentile with at least 10 values beyond it.
std::optional<double> percentile(const std::vector<double>& sorted, double q) {
  constexpr double kBeyond = 10;
  if (static_cast<double>(sorted.size()) * (1 - q) < kBeyond - 1e-9) {
    return std::nullopt;
  }
  return quantile_of_sorted(sorted, q);
}

}  // namespace

LatencySummary summarise_latency(std::vector<double>& seconds) {
  std::sort(seconds.begin(), seconds.end());
  LatencySummary summary;
  summary.count = std::ssize(seconds);
  summary.p50 = percentile(seconds, 0.5);
  summary.p90 = percentile(seconds, 0.9);
  summary.p99 = percentile(seconds, 0.99);
  if (!seconds.empty()) {
    summary.max = seconds.back();
  }
  return summary;
}

ServerRun run_server_bench(const ServerBenchOptions& options, const SendRequests& send,
                           const std::function<void(double)>& progress) {
  return ServerBench(options, send, progress).run();
}

}  // namespace mg
