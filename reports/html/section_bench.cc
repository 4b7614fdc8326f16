#include <fmt/format.h>

#include "reports/format.h"
#include "reports/html/charts.h"
#include "reports/html/sections.h"
#include "reports/html/table.h"
#include "reports/labels.h"

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
                         {"peak", Align::kNumber},
                         {"keys and values", Align::kNumber},
                         {"loaded in", Align::kNumber},
                         {"first token after", Align::kNumber}});
  for (const BenchMemory& memory : bench.memory) {
    table.row({markup("{}", lane_label(memory.lane)),
               markup("{}", format_bytes(memory.weight_bytes)),
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
  if (!ratios.empty()) {
    out += ratios.finish();
  }
  return out.add("<div class=figures>\n{}{}</div>\n", rates_figures(bench), memory_figure(bench));
}

}  // namespace mg::html
