// mergegauge audit: is merged really base + scale*B*A, tensor by tensor?
#include "harness/audit/audit.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>

#include "harness/cli/audit_text.h"
#include "harness/cli/command.h"
#include "harness/cli/version.h"
#include "harness/model/attach.h"
#include "harness/result/report.h"
#include "harness/run/compare.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"
#include "reports/atomic_file.h"
#include "reports/json/report_json.h"

namespace mg {
namespace {

struct AuditArguments {
  std::string base;
  std::string adapter;
  std::string merged;
  std::string trained_on;
  BlockOrder block_order = BlockOrder::kByRow;
  std::string backend = "cpu";
  std::string json;
  int threads = 0;
};

Report start_report(const AuditArguments& arguments, const CommandContext& context) {
  Report report;
  report.tool.version = kVersion;
  report.tool.backend = arguments.backend;
  report.tool.threads = arguments.threads;
  report.tool.arithmetic = "exact";
  report.inputs.base = arguments.base;
  report.inputs.adapter = arguments.adapter;
  report.inputs.merged = arguments.merged;
  if (!arguments.trained_on.empty()) {
    report.inputs.trained_on = arguments.trained_on;
  }
  report.inputs.command = context.command_line;
  return report;
}

void write_report(const AuditArguments& arguments, const Report& report) {
  if (!arguments.json.empty()) {
    write_file_atomically(arguments.json, write_report_json(report));
  }
}

/// The report of a run that an unusable input ended: the error is its only finding.
Report failed_report(Report report, const Error& error) {
  report.status =
      error.kind() == ErrorKind::kInternal ? RunStatus::kInternalError : RunStatus::kInputError;
  Finding finding;
  finding.rule = error.parts().code;
  finding.severity = Severity::kError;
  finding.command = "audit";
  finding.subject = error.parts().where;
  finding.message = error.parts().what;
  finding.expected = error.parts().expected;
  finding.actual = error.parts().actual;
  if (!error.parts().hint.empty()) {
    finding.fix = Fix{false, error.parts().hint};
  }
  report.findings.push_back(std::move(finding));
  return report;
}

void run(const AuditArguments& arguments, const CommandContext& context, Report& report) {
  ThreadPool pool(arguments.threads);
  report.tool.threads = pool.threads();
  const BackendOptions settings{.pool = &pool, .isa = {}};
  const BackendChoice choice = choose_backend(arguments.backend, settings);
  report.tool.backend = choice.name;
  const std::unique_ptr<Backend> backend = make_backend(choice.name, settings);
  const OpenOptions decoded{.decode = true, .block_order = arguments.block_order};
  const Checkpoint base = Checkpoint::open(arguments.base, decoded);
  const Adapter adapter = Adapter::open(arguments.adapter);
  const Checkpoint merged = Checkpoint::open(arguments.merged, decoded);
  const AttachedAdapter attached = attach(adapter, base);
  std::optional<Checkpoint> trained_on;
  if (!arguments.trained_on.empty()) {
    trained_on.emplace(Checkpoint::open(arguments.trained_on, decoded));
  }
  ProgressBar bar(context.terminal, "audit");
  AuditOptions options;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    bar.update(total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total));
  };
  options.trained_on = trained_on ? &*trained_on : nullptr;
  options.device = backend->merge_statistics();
  AuditOutcome outcome = run_audit(base, adapter, attached, merged, pool, options);
  report.findings = std::move(outcome.findings);
  if (!choice.why.empty()) {
    report.findings.push_back(engine_note(choice.why));
  }
  for (const std::string& note : backend->notes()) {
    report.findings.push_back(engine_note(note));
  }
  report.audit = std::move(outcome.result);
  report.status = decide_status(
      {.findings = report.findings, .verdicts = {}, .not_checked = outcome.not_checked});
}

void audit_command(const AuditArguments& arguments, CommandContext& context) {
  const auto begin = std::chrono::steady_clock::now();
  Report report = start_report(arguments, context);
  try {
    run(arguments, context, report);
  } catch (const Error& error) {
    write_report(arguments, failed_report(std::move(report), error));
    throw;
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  report.timing = Timing{{}, seconds, {{"audit", seconds}}};
  write_report(arguments, report);
  fmt::print("{}", audit_text(report, context.terminal));
  context.exit_code = exit_code(report.status);
}

}  // namespace

void add_audit_command(CLI::App& app, CommandContext& context) {
  const auto arguments = std::make_shared<AuditArguments>();
  CLI::App* command =
      app.add_subcommand("audit", "prove tensor by tensor that merged is base + adapter");
  command->add_option("--base", arguments->base, "folder of the model that was merged into")
      ->required();
  command
      ->add_option("--adapter", arguments->adapter,
                   "PEFT adapter folder, or an adapter in a .gguf file")
      ->required();
  command->add_option("--merged", arguments->merged, "folder of the merged checkpoint")->required();
  command->add_option("--trained-on", arguments->trained_on,
                      "folder of the base the adapter was trained on, where merged is to stand on "
                      "another: QLoRA's 4-bit base beside the 16-bit one");
  add_block_order(*command, arguments->block_order);
  command
      ->add_option("--backend", arguments->backend,
                   "cpu, cuda (the same figures), auto (cuda where it can run, else cpu)")
      ->capture_default_str();
  command->add_option("--json", arguments->json, "write the report to this file");
  command->add_option("--threads", arguments->threads, "threads; 0 takes all cores")
      ->check(CLI::NonNegativeNumber);
  command->callback([arguments, &context] { audit_command(*arguments, context); });
}

}  // namespace mg
