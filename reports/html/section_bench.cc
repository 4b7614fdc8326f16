#include <fmt/format.h>

#include <utility>

#include "reports/format.h"
#include "reports/html/charts.h"
#include "reports/html/sections.h"
#include "reports/html/table.h"
#include "reports/labels.h"
#include "reports/server_words.h"

namespace mg::html {
namespace {

int series_of(std::string_view lane) {
  return lane == "merged" ? 0 : lane == "adapter" ? 1 : 2;
}

std::string setting(std::string_view phase, std::int64_t length, std::int64_t batch) {
  return fmt::format("{}, {} tokens, batch {}", phase, format_count(length), format_count(batch));
}

Markup rates_figures(const BenchResult& bench) {
  Markup out;
  for (const std::string_view phase : {"prefill", "decode"}) {
    std::vector<Bar> all;
    Table table(fmt::format("Throughput of {}", phase), {{"setting"},
                                                         {"lane"},
                                                         {"tokens/s", Align::kNumber},
                                                         {"95 % interval", Align::kNumber},
                                                         {"rounds", Align::kNumber},
                                                         {"of peak flops", Align::kNumber},
                                                         {"of memory's peak", Align::kNumber}});
    for (const BenchRate& rate : bench.rates) {
      if (rate.phase != phase) {
        continue;
      }
      table.row({markup("{}", setting(rate.phase, rate.length, rate.batch)),
                 markup("{}", lane_label(rate.lane)), value_cell(rate.tokens_per_s),
                 markup("{}", format_interval(rate.ci95, "")), count_cell(rate.rounds),
                 value_cell(rate.of_flops, "share"), value_cell(rate.of_memory, "share")});
      if (rate.tokens_per_s) {
        all.push_back({fmt::format("{} x {}, {}", rate.length, rate.batch, rate.lane),
                       *rate.tokens_per_s, rate.ci95, format_number(*rate.tokens_per_s),
                       series_of(rate.lane)});
      }
    }
    if (!all.empty()) {
      out += figure({fmt::format("Throughput, {}", phase),
                     "Tokens per second, median over rounds, with its 95 % interval; tokens x "
                     "prompts at once.",
                     bars(fmt::format("Throughput of {}, tokens per second", phase), all),
                     table.finish()});
    }
  }
  return out;
}

Markup memory_figure(const BenchResult& bench) {
  if (bench.memory.empty()) {
    return {};
  }
  std::vector<Bar> all;
  Table table("Memory", {{"lane"},
                         {"weights", Align::kNumber},
                         {"FP32 copies of codes", Align::kNumber},
                         {"peak", Align::kNumber},
                         {"keys and values", Align::kNumber},
                         {"loaded in", Align::kNumber},
                         {"first token after", Align::kNumber}});
  for (const BenchMemory& memory : bench.memory) {
    table.row({markup("{}", lane_label(memory.lane)),
               markup("{}", format_bytes(memory.weight_bytes)),
               markup("{}", memory.decoded_bytes > 0 ? format_bytes(memory.decoded_bytes) : "-"),
               markup("{}", format_bytes(memory.peak_bytes)),
               markup("{}", format_bytes(memory.cache_bytes)),
               markup("{}", memory.load_s ? format_seconds(*memory.load_s) : "-"),
               markup("{}", memory.first_token_s
                                ? format_seconds(*memory.first_token_s) + " (" +
                                      format_plural(memory.first_token_length, "token") + ")"
                                : "-")});
    all.push_back({memory.lane, static_cast<double>(memory.peak_bytes), std::nullopt,
                   format_bytes(memory.peak_bytes), series_of(memory.lane)});
  }
  return figure({"Memory", "Largest anonymous memory of each lane.",
                 bars("Peak memory by lane", all), table.finish()});
}

std::string milliseconds(const std::optional<double>& seconds) {
  return seconds ? format_number(1000 * *seconds) + " ms" : "-";
}

/// Empty where nobody asked for log-probabilities.
Markup logprob_table(const ServerResult& server) {
  Table table("Log-probabilities of the server's answers beside our own engine's",
              {{"model"},
               {"answers", Align::kNumber},
               {"tokens", Align::kNumber},
               {"left out", Align::kNumber},
               {"mean |difference|", Align::kNumber},
               {"95 % interval", Align::kNumber},
               {"16-bit arithmetic's own", Align::kNumber},
               {"largest", Align::kNumber},
               {"where"},
               {"same likeliest token", Align::kNumber},
               {"listed tokens in the engine's list", Align::kNumber},
               {"their mean |difference|", Align::kNumber}});
  for (const ServerLane& lane : server.lanes) {
    if (lane.logprobs) {
      const ServerLogprobs& logprobs = *lane.logprobs;
      table.row({markup("{}", lane_label(lane.lane)),
                 count_cell(logprobs.prompts - logprobs.failed), count_cell(logprobs.positions),
                 count_cell(logprobs.left_out), value_cell(logprobs.mean, "nat"),
                 markup("{}", format_interval(logprobs.ci95, "nat")),
                 value_cell(logprobs.floor, "nat"), value_cell(logprobs.max, "nat"),
                 markup("{}", worst_logprob_text(logprobs)), value_cell(logprobs.top1, "share"),
                 value_cell(logprobs.top_share, "share"), value_cell(logprobs.top_mean, "nat")});
    }
  }
  return table.empty() ? Markup{} : table.finish();
}

Markup server_tables(const ServerResult& server) {
  Table lanes("The server's models", {{"model"},
                                      {"its name there", Align::kName},
                                      {"tokens/s", Align::kNumber},
                                      {"95 % interval", Align::kNumber},
                                      {"rounds", Align::kNumber},
                                      {"tokens of a prompt", Align::kNumber},
                                      {"tokens of an answer", Align::kNumber},
                                      {"counted by", Align::kText}});
  Table latencies("Latencies", {{"model"},
                                {"time"},
                                {"values", Align::kNumber},
                                {"p50", Align::kNumber},
                                {"p90", Align::kNumber},
                                {"p99", Align::kNumber},
                                {"largest", Align::kNumber}});
  Table outcomes("What became of the requests", {{"model"},
                                                 {"outcome", Align::kName},
                                                 {"requests", Align::kNumber},
                                                 {"counts"},
                                                 {"what the first said"}});
  for (const ServerLane& lane : server.lanes) {
    const Markup name = markup("{}", lane_label(lane.lane));
    lanes.row({name, name_cell(lane.model), value_cell(lane.tokens_per_s),
               markup("{}", format_interval(lane.ci95, "")), count_cell(lane.rounds),
               value_cell(lane.prompt_tokens), value_cell(lane.tokens),
               markup("{}", lane.tokens_counted)});
    for (const auto& [time, latency] :
         {std::pair("first token", &lane.first_token),
          std::pair("between tokens", &lane.inter_token), std::pair("whole text", &lane.whole)}) {
      latencies.row(
          {name, markup("{}", time), count_cell(latency->count),
           markup("{}", milliseconds(latency->p50)), markup("{}", milliseconds(latency->p90)),
           markup("{}", milliseconds(latency->p99)), markup("{}", milliseconds(latency->max))});
    }
    for (const ServerOutcome& outcome : lane.outcomes) {
      outcomes.row({name, name_cell(outcome.name), count_cell(outcome.requests),
                    markup("{}", outcome.usable ? "yes" : "no"), markup("{}", outcome.example)});
    }
  }
  Markup out = markup("<p>{}, {} in a turn.</p>\n", server_setting(server),
                      format_plural(server.requests, "request"));
  out += lanes.finish();
  out += logprob_table(server);
  out += latencies.finish();
  out += outcomes.finish();
  return out;
}

}  // namespace

Markup bench_section(const Report& report) {
  if (!report.bench) {
    return {};
  }
  const BenchResult& bench = *report.bench;
  Table ratios("Ratios of throughput, paired by round", {{"setting"},
                                                         {"subject"},
                                                         {"reference"},
                                                         {"times as fast", Align::kNumber},
                                                         {"95 % interval", Align::kNumber},
                                                         {"the interval says"}});
  for (const BenchRatio& ratio : bench.ratios) {
    ratios.row({markup("{}", setting(ratio.phase, ratio.length, ratio.batch)),
                markup("{}", lane_label(ratio.subject)), markup("{}", lane_label(ratio.reference)),
                value_cell(ratio.value), markup("{}", format_interval(ratio.ci95, "")),
                markup("{}", ratio.decision.empty() ? "-" : ratio.decision)});
  }
  Markup out;
  if (bench.server) {
    out += server_tables(*bench.server);
  }
  if (!ratios.empty()) {
    out += ratios.finish();
  }
  if (bench.rates.empty() && bench.memory.empty()) {
    return out;
  }
  return out.add("<div class=figures>\n{}{}</div>\n", rates_figures(bench), memory_figure(bench));
}

}  // namespace mg::html
