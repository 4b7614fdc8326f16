// mergegauge report: views of a report.json, made from it alone.
#include <fmt/format.h>

#include <map>
#include <memory>

#include "harness/cli/command.h"
#include "kernels/core/error.h"
#include "reports/atomic_file.h"
#include "reports/digest.h"
#include "reports/formats.h"
#include "reports/json/report_json.h"
#include "reports/terminal/terminal.h"

namespace mg {
namespace {

struct ReportFlags {
  std::string report;
  std::map<std::string, std::string, std::less<>> outputs;  // by the format's name
};

void require_one_standard_output(const ReportFlags& flags) {
  int wanted = 0;
  for (const auto& [name, file] : flags.outputs) {
    wanted += file == "-" ? 1 : 0;
  }
  if (wanted > 1) {
    throw Error({.code = "usage.standard-output",
                 .what = "two views cannot share standard output",
                 .where = {},
                 .expected = "at most one option with -",
                 .actual = fmt::format("{}", wanted),
                 .hint = "write the others to files"},
                ErrorKind::kUsage);
  }
}

void run(const ReportFlags& flags, const CommandContext& context) {
  require_one_standard_output(flags);
  const std::string json = read_report_text(flags.report);
  const Report report = read_report_json(json, flags.report);
  const ReportView view{report, text_digest(json)};
  bool any = false;
  for (const ReportFormat& format : report_formats()) {
    const auto wanted = flags.outputs.find(format.name);
    if (wanted == flags.outputs.end() || wanted->second.empty()) {
      continue;
    }
    any = true;
    const std::string text = format.render(view);
    if (wanted->second == "-") {
      fmt::print("{}", text);
    } else {
      write_file_atomically(wanted->second, text);
    }
  }
  if (!any) {
    fmt::print("{}", render_terminal(report, {.colour = context.terminal.colour,
                                              .width = context.terminal.width}));
  }
}

}  // namespace

void add_report_command(CLI::App& app, CommandContext& context) {
  const auto flags = std::make_shared<ReportFlags>();
  CLI::App* command = app.add_subcommand(
      "report", "Show a report.json again: on the terminal, as a page, for a CI system");
  command->add_option("REPORT.json", flags->report, "what `mergegauge check` wrote")->required();
  for (const ReportFormat& format : report_formats()) {
    const std::string name(format.name);
    command->add_option("--" + name, flags->outputs[name],
                        fmt::format("{}; - for standard output", format.what));
  }
  command->callback([flags, &context] { run(*flags, context); });
}

}  // namespace mg
