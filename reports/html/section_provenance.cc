#include <fmt/format.h>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/sections.h"
#include "reports/html/table.h"

namespace mg::html {
namespace {

Markup side(const std::optional<std::string>& json) {
  return json ? markup("<code>{}</code>", *json) : markup("<span class=faint>absent</span>");
}

void add_fact(Markup& out, std::string_view name, const std::string& value) {
  if (!value.empty()) {
    out.add("<div><dt>{}</dt><dd>{}</dd></div>\n", name, value);
  }
}

Markup facts(const ReportView& view) {
  const ToolInfo& tool = view.report.tool;
  Markup out;
  add_fact(out, "tool",
           fmt::format("mergegauge {}{}{}", tool.version, tool.commit.empty() ? "" : ", commit ",
                       tool.commit));
  add_fact(out, "backend",
           fmt::format("{}, {} threads, {}", tool.backend, tool.threads, tool.arithmetic));
  add_fact(out, "machine", tool.machine);
  if (view.report.memory) {
    add_fact(out, "peak memory", format_bytes(view.report.memory->anonymous_peak_bytes));
  }
  if (const Comparison* c = main_comparison(view.report);
      c != nullptr && c->bootstrap_replicates > 0) {
    add_fact(out, "intervals",
             fmt::format("clustered by prompt, {} replicates, seed {}",
                         format_count(c->bootstrap_replicates), c->bootstrap_seed));
  }
  out.add("<div><dt>report.json</dt><dd><code id=digest>{}</code></dd></div>\n", view.digest);
  return markup("<dl class=facts>\n{}</dl>\n", out);
}

Markup suites(const Report& report) {
  Table table("Prompts",
              {{"suite"}, {"prompts", Align::kNumber}, {"tokens", Align::kNumber}, {"digest"}});
  for (const SuiteInfo& suite : report.inputs.suites) {
    table.row({markup("{}", suite.name), count_cell(suite.prompts), count_cell(suite.tokens),
               name_cell(suite.digest)});
  }
  return table.empty() ? Markup{} : table.finish();
}

Markup files(const Provenance& provenance) {
  Table table("Input files", {{"file"}, {"of"}, {"size", Align::kNumber}, {"SHA-256"}});
  for (const FileRecord& file : provenance.files) {
    table.row({name_cell(file.path), markup("{}", file.role),
               markup("{}", format_bytes(file.bytes)), name_cell(file.sha256)});
  }
  return table.empty() ? Markup{}
                       : markup(
                             "<details class=more><summary>{} input files with their digests"
                             "</summary>\n{}</details>\n",
                             format_count(table.rows()), table.finish());
}

Markup phases(const Timing& timing) {
  Table table("Time by phase", {{"phase"}, {"seconds", Align::kNumber}});
  for (const Phase& phase : timing.phases) {
    table.row({markup("{}", phase.name), markup("{}", format_seconds(phase.seconds))});
  }
  return table.empty() ? Markup{}
                       : markup(
                             "<details class=more><summary>Time by phase</summary>\n{}"
                             "</details>\n",
                             table.finish());
}

}  // namespace

Markup files_section(const Report& report) {
  if (!report.provenance) {
    return {};
  }
  Table table("Keys that differ between base and merged",
              {{"key"}, {"file"}, {"kind"}, {"base"}, {"merged"}});
  for (const ConfigDifference& difference : report.provenance->config_differences) {
    table.row({name_cell(difference.key), name_cell(difference.file),
               markup("{}", difference.difference_class), side(difference.base),
               side(difference.merged)});
  }
  return table.empty() ? markup("<p>The configs of base and merged are the same.</p>\n")
                       : table.finish();
}

Markup provenance_section(const ReportView& view) {
  const Report& report = view.report;
  Markup out;
  if (!report.inputs.command.empty()) {
    out.add(
        "<p>This command repeats the run:</p>\n<pre class=command "
        "tabindex=0><code>{}</code></pre>\n",
        report.inputs.command);
  }
  out += facts(view);
  out += suites(report);
  if (report.provenance) {
    out += files(*report.provenance);
  }
  if (report.timing) {
    out += phases(*report.timing);
  }
  return out;
}

}  // namespace mg::html
