// mergegauge check, compare and selftest: the main job, its second half alone, and the proof that
// it sees what it should.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "harness/cli/bench.h"
#include "harness/cli/command.h"
#include "harness/cli/report_output.h"
#include "harness/cli/version.h"
#include "harness/run/check.h"
#include "harness/run/damage.h"
#include "harness/run/demo.h"
#include "harness/run/memory.h"
#include "harness/run/selftest.h"
#include "kernels/core/error.h"
#include "reports/atomic_file.h"
#include "reports/csv/csv.h"
#include "reports/digest.h"
#include "reports/history/baseline.h"
#include "reports/history/store.h"
#include "reports/json/report_json.h"

namespace mg {
namespace {

struct Flags {
  CheckOptions options;
  std::filesystem::path out;
  std::string json;  // a file, or - for standard output
  std::string history;
  std::string baseline;
  bool demo = false;
  bool selftest = false;
  std::string damage;
  std::string token_csv;
  TokenRows token_rows;
  int threads = 0;
  bool no_digests = false;
  bool bench = false;
};

const std::map<std::string, DType>& storage_dtypes() {
  static const std::map<std::string, DType> kNames{
      {"fp16", DType::kF16}, {"bf16", DType::kBF16}, {"fp32", DType::kF32}};
  return kNames;
}

const std::map<std::string, Arithmetic>& arithmetics() {
  static const std::map<std::string, Arithmetic> kNames{
      {"exact", Arithmetic::kExact}, {"fp16", Arithmetic::kFp16}, {"bf16", Arithmetic::kBf16}};
  return kNames;
}

void add_flags(CLI::App& command, Flags& flags) {
  CheckOptions& options = flags.options;
  command.add_option("--base", options.base, "folder of the base model");
  command.add_option("--adapter", options.adapter, "folder of the LoRA adapter (or .gguf file)");
  command.add_option("--merged", options.merged, "folder of the merged model");
  command.add_option(
      "--suite", options.suites,
      "prompts: a name that `mergegauge suites` lists, a file (.jsonl, .txt, table.csv:COLUMN) "
      "or a folder; may be given several times (default: smoke)");
  command.add_option("--trained-on", options.trained_on,
                     "folder of the base the adapter was trained on, where merged is to stand on "
                     "another: QLoRA's 4-bit base beside the 16-bit one");
  add_block_order(command, options.block_order);
  command.add_option("--gates", options.gates,
                     "gate profile: name or file (default: by merged's stored dtype)");
  command.add_option("--json", flags.json, "also write report.json here; - for standard output");
  command.add_option("--tokens", options.token_budget, "run at most this many tokens")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--what-if", options.compare.what_if,
                  "add re-merges stored as these: fp16, bf16, fp32")
      ->delimiter(',')
      ->transform(CLI::CheckedTransformer(storage_dtypes()));
  command
      .add_option("--backend", options.compare.engine.backend,
                  "cpu, cuda, auto (cuda where it can run, else cpu) or reference")
      ->capture_default_str();
  command.add_option("--isa", options.compare.engine.isa,
                     "pin the instruction set of the cpu backend");
  command.add_option("--arithmetic", options.compare.engine.arithmetic, "exact, fp16 or bf16")
      ->transform(CLI::CheckedTransformer(arithmetics()));
  command
      .add_option("--forced-tokens", options.compare.forced_tokens,
                  "tokens on which merged's layers are also fed the reference's inputs (0: none)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--floor-tokens", options.compare.floor_tokens,
                  "tokens on which the arithmetic's own noise is measured (0: none)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--chunk-tokens", options.compare.chunk_tokens,
                  "tokens in work at once: memory and speed depend on it, results do not")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--accept-key", options.accepted_keys,
                     "a config key that was not read and is known to be harmless");
  command.add_option("--threads", flags.threads, "0: all cores")->check(CLI::NonNegativeNumber);
  command.add_flag("--no-digests", flags.no_digests, "leave out SHA-256 of the input files");
}

void add_run_flags(CLI::App& command, Flags& flags) {
  command.add_option("--also", flags.options.also,
                     "what is to be served in merged's place, held against merged: a GGUF file or "
                     "a folder; may be given several times");
  command.add_option("--also-gates", flags.options.also_gates,
                     "gate profile of --also: name or file (default: served)");
  command.add_option("--per-token-csv", flags.token_csv,
                     "also write every metric of every token here, as CSV");
  command.add_option("--history", flags.history,
                     "append the run to this SQLite file (`mergegauge trend` shows it)");
  command.add_option("--baseline", flags.baseline,
                     "an earlier report.json, or a history: be no further off than that run");
}

Error usage(std::string what, std::string hint) {
  return Error({.code = "usage",
                .what = std::move(what),
                .where = {},
                .expected = {},
                .actual = {},
                .hint = std::move(hint)},
               ErrorKind::kUsage);
}

void require_folders(const Flags& flags) {
  const CheckOptions& options = flags.options;
  const bool given = !options.base.empty() && !options.adapter.empty() && !options.merged.empty();
  if (flags.demo &&
      (!options.base.empty() || !options.adapter.empty() || !options.merged.empty())) {
    throw usage("--demo brings its own base, adapter and merged", "leave out one or the other");
  }
  if (!flags.demo && !given) {
    throw usage("--base, --adapter and --merged are required",
                "`mergegauge check --demo` and `selftest --demo` run on a small model of their "
                "own");
  }
  if (options.also.empty() && !options.also_gates.empty()) {
    throw usage("--also-gates judges what --also names", "add --also MODEL");
  }
  if (!flags.demo && !flags.damage.empty()) {
    throw usage("--break damages the demo model and nothing else", "add --demo");
  }
}

/// Files of earlier runs are looked at before minutes of work, not after.
void require_earlier_runs(const Flags& flags) {
  if (flags.no_digests && (!flags.history.empty() || !flags.baseline.empty())) {
    throw usage("runs are compared by their digests", "leave out --no-digests");
  }
  if (!flags.history.empty()) {
    History::open(flags.history, true);
  }
  if (!flags.baseline.empty()) {
    require_readable_baseline(flags.baseline);
  }
}

/// A run that broke off has no numbers to follow.
void append_to_history(const Flags& flags, const Report& report) {
  if (!flags.history.empty() && !report.error) {
    History::open(flags.history, true).append({report, text_digest(write_report_json(report))});
  }
}

/// The time and the memory of what ran after the check, on top of the check's own.
void add_phase(const std::string& name, double seconds, const Memory& peaks, Report& report) {
  if (report.timing) {
    report.timing->wall_s += seconds;
    report.timing->phases.push_back({name, seconds});
  }
  if (report.memory) {
    Memory& memory = *report.memory;
    memory.anonymous_peak_bytes = std::max(memory.anonymous_peak_bytes, peaks.anonymous_peak_bytes);
    memory.resident_peak_bytes = std::max(memory.resident_peak_bytes, peaks.resident_peak_bytes);
  }
}

/// The short form of `mergegauge bench`, into the check's own report.
void add_throughput(const Flags& flags, ThreadPool& pool, const CheckProgress& progress,
                    Report& report) {
  BenchSetup setup;
  setup.base = flags.options.base;
  setup.adapter = flags.options.adapter;
  setup.merged = flags.options.merged;
  setup.engine = flags.options.compare.engine;
  setup.options.settings = bench_settings({128}, {1, 8}, {128});
  const auto begin = std::chrono::steady_clock::now();
  const MemoryWatch memory;
  try {
    measure_throughput(setup, pool, report, [&](double done) { progress("bench", done); });
  } catch (const Error& error) {  // merged may be what cannot run, and the rest has been judged
    report.not_checked.push_back("throughput: " + error.parts().what);
    decide_again(report);
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  add_phase("bench", taken.count(), memory.peaks(), report);
}

void run(Flags& flags, CommandContext& context) {
  require_folders(flags);
  require_earlier_runs(flags);
  ThreadPool pool(flags.threads);
  std::optional<TemporaryFolder> folder;
  if (flags.demo) {
    folder.emplace();
    const DemoFolders demo = write_demo(folder->path(), flags.damage, pool);
    flags.options.base = demo.base;
    flags.options.adapter = demo.adapter;
    flags.options.merged = demo.merged;
  }
  flags.options.command = context.command_line;
  flags.options.version = kVersion;
  flags.options.digests = !flags.no_digests;
  if (!flags.token_csv.empty()) {
    flags.options.compare.token_rows = &flags.token_rows;
  }

  PhaseBar bar(context.terminal);
  const CheckProgress progress = [&](const std::string& name, double done) {
    bar.update(name, done);
  };
  Report report = flags.selftest ? run_selftest(flags.options, pool, progress)
                                 : run_check(flags.options, pool, progress);
  if (flags.bench && !report.error) {
    add_throughput(flags, pool, progress, report);
  }
  bar.finish();
  if (!flags.baseline.empty()) {
    hold_against_baseline(flags.baseline, report);
  }
  give_report(report, {.out = flags.out, .json = flags.json}, context.terminal,
              [&](std::vector<std::string>& files) {
                if (!flags.token_csv.empty() && !flags.token_rows.rows.empty()) {
                  write_file_atomically(flags.token_csv, render_token_csv(flags.token_rows));
                  files.push_back(flags.token_csv);
                }
              });
  append_to_history(flags, report);
  context.exit_code = exit_code(report.status);
}

}  // namespace

void add_check_command(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "check", "Prove a merge: its weights, and what it answers, against base + adapter");
  add_flags(*command, *flags);
  add_run_flags(*command, *flags);
  flags->out = "mergegauge-report";
  command->add_option("--out", flags->out, "folder for the reports")->capture_default_str();
  command->add_flag("--bench", flags->bench,
                    "also measure throughput: merged may not be slower than base + adapter");
  command->add_flag("--demo", flags->demo, "run on the demo model inside the program");
  std::string kinds;
  for (const DamageName& damage : damages()) {
    kinds += (kinds.empty() ? "" : ", ") + std::string(damage.name);
  }
  command->add_option("--break", flags->damage, "damage the demo's merge: " + kinds);
  command->callback([flags, &context] { run(*flags, context); });
}

void add_compare_command(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<Flags>();
  flags->options.audit = false;
  CLI::App* command =
      app.add_subcommand("compare", "Run the same prompts through base, base + adapter and merged");
  add_flags(*command, *flags);
  add_run_flags(*command, *flags);
  command->add_option("--out", flags->out, "folder for the reports (default: none)");
  command->callback([flags, &context] { run(*flags, context); });
}

void add_selftest_command(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<Flags>();
  flags->selftest = true;
  CLI::App* command = app.add_subcommand(
      "selftest", "Plant faults into a right merge, as it is read, and prove that each is caught");
  add_flags(*command, *flags);
  flags->out = "mergegauge-selftest";
  command->add_option("--out", flags->out, "folder for the reports")->capture_default_str();
  command->add_flag("--demo", flags->demo, "run on the demo model inside the program");
  command->callback([flags, &context] { run(*flags, context); });
}

}  // namespace mg
