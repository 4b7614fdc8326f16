// mergegauge diff --base B --merged M: every difference of the two models' configs, grouped by what
// it means.
#include <fmt/format.h>

#include <array>
#include <memory>

#include "harness/cli/command.h"
#include "harness/cli/version.h"
#include "harness/lint/config_diff.h"
#include "harness/lint/context.h"
#include "harness/result/report.h"
#include "reports/atomic_file.h"
#include "reports/json/report_json.h"

namespace mg {
namespace {

struct DiffArguments {
  std::string base;
  std::string merged;
  std::string json;
};

struct Group {
  std::string_view name;
  std::string_view meaning;
};

constexpr auto kGroups = std::to_array<Group>({
    {"breaking", "changes what is computed, or whether it loads"},
    {"suspicious", "may matter to users"},
    {"expected", "a version, a name, another spelling of the same setting"},
});

// A value longer than this is cut: templates and lists of added tokens.
constexpr std::size_t kShown = 60;

std::string shown(const std::optional<std::string>& value) {
  if (!value) {
    return "absent";
  }
  return value->size() <= kShown ? *value : value->substr(0, kShown) + "...";
}

std::string group_text(const Group& group, const std::vector<ConfigDifference>& differences,
                       const Terminal& terminal) {
  std::string text;
  for (const ConfigDifference& difference : differences) {
    if (difference.difference_class == group.name) {
      text += fmt::format("  {}: {}\n    base    {}\n    merged  {}\n", difference.file,
                          difference.key, shown(difference.base), shown(difference.merged));
    }
  }
  return text.empty() ? text
                      : fmt::format("\n{}: {}\n{}", terminal.bold(group.name), group.meaning, text);
}

void diff(const DiffArguments& arguments, CommandContext& context) {
  const lint::ModelFolder base = lint::open_model_folder(arguments.base, "base");
  const lint::ModelFolder merged = lint::open_model_folder(arguments.merged, "merged");
  Report report;
  report.status = RunStatus::kPass;  // shows, judges nothing: `lint` and `check` do
  report.tool.version = kVersion;
  report.tool.threads = 1;
  report.inputs.base = arguments.base;
  report.inputs.merged = arguments.merged;
  report.inputs.command = context.command_line;
  report.provenance.emplace();
  report.provenance->config_differences = lint::config_differences(base, merged);
  if (arguments.json == "-") {
    fmt::print("{}", write_report_json(report));
    return;
  }
  if (!arguments.json.empty()) {
    write_file_atomically(arguments.json, write_report_json(report));
  }
  const std::vector<ConfigDifference>& differences = report.provenance->config_differences;
  fmt::print("{} {} between the configs of base and merged\n", differences.size(),
             differences.size() == 1 ? "difference" : "differences");
  for (const Group& group : kGroups) {
    fmt::print("{}", group_text(group, differences, context.terminal));
  }
}

}  // namespace

void add_diff_command(CLI::App& app, CommandContext& context) {
  const auto arguments = std::make_shared<DiffArguments>();
  CLI::App* command = app.add_subcommand(
      "diff", "Show every difference of base's and merged's configs, and what it means");
  command->add_option("--base", arguments->base, "Folder of the base model")->required();
  command->add_option("--merged", arguments->merged, "Folder of the merged checkpoint")->required();
  command->add_option("--json", arguments->json,
                      "Write the report to this file, or to - for standard output");
  command->callback([arguments, &context] { diff(*arguments, context); });
}

}  // namespace mg
