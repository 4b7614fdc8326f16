#include "reports/server_words.h"

#include <fmt/format.h>

#include <algorithm>

#include "reports/format.h"
#include "reports/labels.h"

namespace mg {
namespace {

/// What a ratio is of, where more is better.
std::string_view phase_label(std::string_view phase) {
  return phase == "throughput"    ? "tokens/s"
         : phase == "first-token" ? "speed to the first token"
         : phase == "inter-token" ? "speed between tokens"
                                  : phase;
}

bool fails(const Report& report, std::string_view gate) {
  return std::any_of(report.verdicts.begin(), report.verdicts.end(), [&](const Verdict& verdict) {
    return verdict.gate == gate && verdict.status == GateStatus::kFail;
  });
}

/// How far a model's log-probabilities lie from the engine's, with its gate's status.
KeyNumber logprob_number(const Report& report, const ServerLane& lane) {
  KeyNumber number;
  number.label = fmt::format("log-probabilities of {}, server from engine", lane_label(lane.lane));
  number.value = format_value(lane.logprobs->mean, "nat");
  for (const Verdict& verdict : report.verdicts) {
    if (verdict.gate == "server.logprobs" && verdict.subject == lane.lane) {
      number.status = verdict.status;
      number.detail = limit_text(verdict);
    }
  }
  return number;
}

}  // namespace

std::string server_title(const Report& report) {
  switch (report.status) {
    case RunStatus::kPass:
      return report.bench->ratios.empty()
                 ? "The server was measured."
                 : "On this server merged is not slower than base + adapter.";
    case RunStatus::kFail:
      return fails(report, "server.answers") ? "The server did not answer every request to merged."
             : fails(report, "server.logprobs")
                 ? "The server's models do not answer as the folders do."
                 : "On this server merged is slower than base + adapter.";
    default:
      return "";
  }
}

std::vector<KeyNumber> server_numbers(const Report& report) {
  std::vector<KeyNumber> numbers;
  for (const BenchRatio& ratio : report.bench->ratios) {
    const auto gate = std::find_if(
        report.verdicts.begin(), report.verdicts.end(),
        [&](const Verdict& verdict) { return verdict.gate == "server." + ratio.phase; });
    const Verdict* verdict = gate == report.verdicts.end() ? nullptr : &*gate;
    KeyNumber number;
    number.label = fmt::format("{}, {} over {}", phase_label(ratio.phase),
                               lane_label(ratio.subject), lane_label(ratio.reference));
    number.value = format_value(ratio.value, "ratio");
    if (verdict != nullptr) {
      const GateInterval judged = gate_interval(*verdict);
      if (judged.interval) {
        number.detail = fmt::format("{} % interval {}, ", judged.percent,
                                    format_interval(judged.interval, "ratio"));
      }
      number.detail += limit_text(*verdict) + ", ";
      number.status = verdict->status;
    }
    number.detail += ratio.decision;
    numbers.push_back(std::move(number));
  }
  if (numbers.empty()) {
    for (const ServerLane& lane : report.bench->server->lanes) {
      numbers.push_back(
          {.label = "tokens/s of " + lane_label(lane.lane),
           .value = format_value(lane.tokens_per_s, ""),
           .detail = lane.ci95 ? "95 % interval " + format_interval(lane.ci95, "") : "",
           .status = GateStatus::kNotRun});
    }
  }
  for (const ServerLane& lane : report.bench->server->lanes) {
    if (lane.logprobs) {
      numbers.push_back(logprob_number(report, lane));
    }
  }
  return numbers;
}

std::string worst_logprob_text(const ServerLogprobs& logprobs) {
  if (!logprobs.worst || !logprobs.worst_server || !logprobs.worst_engine) {
    return "";
  }
  return fmt::format("prompt \"{}\", token {} \"{}\": {} on the server, {} in the engine",
                     logprobs.worst->prompt, logprobs.worst->position, logprobs.worst_text,
                     format_number(*logprobs.worst_server), format_number(*logprobs.worst_engine));
}

std::string logprobs_text(const ServerLogprobs& logprobs) {
  if (logprobs.positions == 0) {
    return fmt::format("no token of {} could be compared",
                       format_plural(logprobs.prompts, "answer"));
  }
  std::string text = fmt::format(
      "{} of {}, mean |difference| {}, largest {} ({}); the likeliest is the engine's in {}, {} of "
      "the {} likeliest are among its own",
      format_plural(logprobs.positions, "token"),
      format_plural(logprobs.prompts - logprobs.failed, "answer"),
      format_value(logprobs.mean, "nat"), format_value(logprobs.max, "nat"),
      worst_logprob_text(logprobs), format_value(logprobs.top1, "share"),
      format_value(logprobs.top_share, "share"), logprobs.top);
  if (logprobs.left_out > 0) {
    text += fmt::format("; {} left out", format_plural(logprobs.left_out, "token"));
  }
  return text;
}

std::string latency_text(const LatencySummary& latency) {
  const auto shown = [](const std::optional<double>& seconds) {
    return seconds ? format_number(1000 * *seconds) : "-";
  };
  return fmt::format("{} / {} / {}", shown(latency.p50), shown(latency.p90), shown(latency.p99));
}

std::string answered_text(const ServerLane& lane) {
  std::int64_t answered = 0;
  for (const ServerOutcome& outcome : lane.outcomes) {
    answered += outcome.usable ? outcome.requests : 0;
  }
  return fmt::format("{} of {}", format_count(answered), format_count(lane.requests));
}

std::string server_setting(const ServerResult& server) {
  std::string setting = fmt::format("{}, {}, {} at once, {} an answer", server.url, server.endpoint,
                                    format_plural(server.concurrency, "request"),
                                    format_plural(server.max_tokens, "token"));
  if (server.rate) {
    setting += fmt::format(", {} sent a second, {} late at most", format_number(*server.rate),
                           format_seconds(server.latest_s.value_or(0)));
  }
  return setting;
}

}  // namespace mg
