// mergegauge lint MERGED: will it load, and mean what it should?  From configs, indexes and headers
// alone.
#include "harness/lint/lint.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "harness/cli/command.h"
#include "harness/cli/lint_text.h"
#include "harness/cli/version.h"
#include "harness/lint/fix.h"
#include "harness/result/report.h"
#include "harness/result/status.h"
#include "kernels/core/error.h"
#include "reports/atomic_file.h"
#include "reports/json/report_json.h"

namespace mg {
namespace {

struct LintArguments {
  std::string merged;
  std::string base;
  std::string adapter;
  std::string json;
  std::string server;
  std::vector<std::filesystem::path> also;
  std::vector<std::string> accepted_keys;
  bool fix = false;
  bool dry_run = false;
};

lint::Options options_of(const LintArguments& arguments) {
  lint::Options options;
  options.merged = arguments.merged;
  if (!arguments.base.empty()) {
    options.base = arguments.base;
  }
  if (!arguments.adapter.empty()) {
    options.adapter = arguments.adapter;
  }
  options.server = arguments.server;
  options.also = arguments.also;
  options.accepted_keys = arguments.accepted_keys;
  return options;
}

Report start_report(const LintArguments& arguments, const CommandContext& context) {
  Report report;
  report.tool.version = kVersion;
  report.tool.threads = 1;
  report.inputs.base = arguments.base;
  report.inputs.adapter = arguments.adapter;
  report.inputs.merged = arguments.merged;
  report.inputs.command = context.command_line;
  return report;
}

void write_report(const LintArguments& arguments, const Report& report) {
  if (arguments.json == "-") {
    fmt::print("{}", write_report_json(report));
  } else if (!arguments.json.empty()) {
    write_file_atomically(arguments.json, write_report_json(report));
  }
}

/// A folder that could not be opened at all: the error is the report.
[[noreturn]] void fail(const LintArguments& arguments, Report report, const Error& error) {
  const ErrorParts& parts = error.parts();
  report.status =
      error.kind() == ErrorKind::kInternal ? RunStatus::kInternalError : RunStatus::kInputError;
  report.error = {.code = parts.code,
                  .what = parts.what,
                  .where = parts.where,
                  .expected = parts.expected,
                  .actual = parts.actual,
                  .hint = parts.hint};
  if (error.kind() != ErrorKind::kUsage) {
    write_report(arguments, report);
  }
  throw error;
}

/// Shows or makes the repairs, and says what was done.
void repair(const LintArguments& arguments, const CommandContext& context,
            const lint::Context& folders, const lint::FixPlan& plan) {
  if (!arguments.dry_run) {
    lint::apply_fix(folders, plan, kVersion, context.command_line);
  }
  if (arguments.json != "-") {
    fmt::print("{}", fix_text(plan, arguments.dry_run, context.terminal));
  }
}

/// One repair can uncover the next fault (tensors whose names were wrong, say), so --fix goes on
/// while it finds something new to do.
lint::Result examine(const LintArguments& arguments, const CommandContext& context) {
  constexpr int kMostRounds = 8;
  const lint::Options options = options_of(arguments);
  for (int round = 0;; ++round) {
    const lint::Context folders = lint::open_context(options);
    lint::Result result = lint::run(folders, options);
    if (!arguments.fix && !arguments.dry_run) {
      return result;
    }
    const lint::FixPlan plan = lint::plan_fix(folders, result);
    if (plan.edits.empty() || round == kMostRounds) {
      return result;
    }
    repair(arguments, context, folders, plan);
    if (arguments.dry_run) {
      return result;
    }
  }
}

void lint_command(const LintArguments& arguments, CommandContext& context) {
  const auto begin = std::chrono::steady_clock::now();
  Report report = start_report(arguments, context);
  lint::Result result;
  try {
    result = examine(arguments, context);
  } catch (const Error& error) {
    fail(arguments, std::move(report), error);
  }
  report.findings = result.plain_findings();
  report.status = decide_status(
      {.findings = report.findings, .verdicts = {}, .input_error = result.unreadable});
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  report.timing = Timing{{}, seconds, {{"lint", seconds}}};
  write_report(arguments, report);
  if (arguments.json != "-") {
    fmt::print("{}", lint_text(report, context.terminal));
  }
  context.exit_code = exit_code(report.status);
}

}  // namespace

void add_lint_command(CLI::App& app, CommandContext& context) {
  const auto arguments = std::make_shared<LintArguments>();
  CLI::App* command = app.add_subcommand(
      "lint", "Find what will not load or not mean what it should, from configs and headers alone");
  command->add_option("MERGED", arguments->merged, "Folder of the merged checkpoint")->required();
  command->add_option("--base", arguments->base, "Folder of the base model");
  command->add_option("--adapter", arguments->adapter, "Folder of the adapter (or .gguf file)");
  command->add_option("--server", arguments->server,
                      "Also what this server demands: vllm, transformers, sglang, llama.cpp");
  command->add_option("--also", arguments->also,
                      "A GGUF file made from merged, held against merged's tokenizer, template and "
                      "config; may be given several times");
  command->add_flag("--fix", arguments->fix,
                    "Make the safe repairs; old files stay as NAME.bak, and "
                    "mergegauge-provenance.json says what was done");
  command->add_flag("--dry-run", arguments->dry_run,
                    "Show what --fix would change, change nothing");
  command->add_option("--accept-key", arguments->accepted_keys,
                      "A config key that was not read and is known to be harmless");
  command->add_option("--json", arguments->json,
                      "Write the report to this file, or to - for standard output");
  command->callback([arguments, &context] { lint_command(*arguments, context); });
}

}  // namespace mg
