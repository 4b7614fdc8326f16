// mergegauge trend: what a history of runs shows.
#include <fmt/format.h>

#include <memory>

#include "harness/cli/command.h"
#include "reports/atomic_file.h"
#include "reports/history/trend.h"

namespace mg {
namespace {

struct TrendFlags {
  std::string history;
  std::string html;
  std::string key;
  std::int64_t runs = 30;
};

void run(const TrendFlags& flags) {
  const Trend trend = read_trend(History::open(flags.history, false), flags.key, flags.runs);
  if (flags.html == "-") {
    fmt::print("{}", render_trend_html(trend));
    return;
  }
  if (!flags.html.empty()) {
    write_file_atomically(flags.html, render_trend_html(trend));
  }
  fmt::print("{}", trend_text(trend));
}

}  // namespace

void add_trend_command(CLI::App& app, CommandContext& /*context*/) {
  const auto flags = std::make_shared<TrendFlags>();
  CLI::App* command =
      app.add_subcommand("trend",
                         "Show the last comparable runs of a history, and where a gate "
                         "changed its level");
  command->add_option("HISTORY.sqlite", flags->history, "what `check --history` wrote")->required();
  command->add_option("--html", flags->html, "also write a page; - for standard output");
  command->add_option("--key", flags->key, "runs of this key (default: of the newest run)");
  command->add_option("--runs", flags->runs, "at most this many, the newest")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->callback([flags] { run(*flags); });
}

}  // namespace mg
