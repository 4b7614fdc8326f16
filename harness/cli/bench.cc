// mergegauge bench: prefill and decoding of base, base + adapter and merged, side by side.
#include "harness/cli/bench.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "harness/bench/synthetic_adapter.h"
#include "harness/cli/command.h"
#include "harness/cli/report_output.h"
#include "harness/cli/server_bench.h"
#include "harness/cli/version.h"
#include "harness/lanes/checkpoint_source.h"
#include "harness/run/describe.h"
#include "harness/run/logit_metrics.h"
#include "harness/run/memory.h"
#include "harness/run/models.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"
#include "reports/atomic_file.h"

namespace mg {
namespace {

/// The folders, opened, and the contestants made of them.
class BenchLineup {
 public:
  explicit BenchLineup(const BenchSetup& setup) {
    add("base", [&] {
      base_ = std::make_unique<OpenModel>(setup.base);
      require_plain_weights(*base_);
      return std::make_unique<CheckpointSource>(base_->checkpoint, base_->model);
    });
    if (!setup.adapter.empty()) {
      add("adapter", [&] {
        adapter_ = std::make_unique<OpenAdapter>(setup.adapter, *base_);
        return std::make_unique<CheckpointSource>(base_->checkpoint, base_->model,
                                                  &adapter_->attached);
      });
      pairs_.push_back({"base", "adapter"});
    }
    if (!setup.merged.empty()) {
      add("merged", [&] {
        merged_ = std::make_unique<OpenModel>(setup.merged);
        require_plain_weights(*merged_);
        return std::make_unique<CheckpointSource>(merged_->checkpoint, merged_->model);
      });
      pairs_.push_back({"base", "merged"});
      if (!setup.adapter.empty()) {
        pairs_.push_back({"adapter", "merged"});
      }
    }
    for (const std::int64_t rank : setup.ranks) {
      add_synthetic(fmt::format("adapter-r{}", rank), rank, 1);
    }
    for (const std::int64_t count : setup.adapters) {
      add_synthetic(fmt::format("adapters-{}", count), 16, count);
    }
  }

  const std::vector<BenchLane>& lanes() const { return lanes_; }
  const std::vector<BenchPair>& pairs() const { return pairs_; }
  /// Whom merged is held against.
  std::string reference() const { return adapter_ ? "adapter" : "base"; }

 private:
  template <typename Open>
  void add(std::string name, const Open& open) {
    const auto begin = std::chrono::steady_clock::now();
    sources_.push_back(open());
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    lanes_.push_back({std::move(name), {sources_.back().get()}, taken.count()});
  }

  void add_synthetic(std::string name, std::int64_t rank, std::int64_t count) {
    BenchLane lane{name, {}, 0};
    for (std::int64_t i = 0; i < count; ++i) {
      sources_.push_back(std::make_unique<SyntheticAdapter>(*lanes_.front().sources.front(), rank,
                                                            static_cast<std::uint64_t>(i)));
      lane.sources.push_back(sources_.back().get());
    }
    lanes_.push_back(std::move(lane));
    pairs_.push_back({"base", std::move(name)});
  }

  std::unique_ptr<OpenModel> base_;
  std::unique_ptr<OpenAdapter> adapter_;
  std::unique_ptr<OpenModel> merged_;
  std::vector<std::unique_ptr<WeightSource>> sources_;
  std::vector<BenchLane> lanes_;
  std::vector<BenchPair> pairs_;
};

struct BenchFlags {
  BenchSetup setup;
  ServerFlags server;
  std::vector<std::int64_t> prefill{32, 128, 512, 2048};
  std::vector<std::int64_t> batches{1, 8, 32};
  std::vector<std::int64_t> contexts{128, 2048};
  std::string plant;
  std::string google_json;
  std::filesystem::path out;
  std::string json;  // a file, or - for standard output
  int threads = 0;
  bool pin = false;
};

Error bad_plant(const std::string& plant) {
  return Error({.code = "usage",
                .what = "--plant is not understood",
                .where = {},
                .expected = "LANE=SECONDS, as in merged=0.01",
                .actual = plant,
                .hint = "each turn of the lane sleeps so long: the gate must see it"},
               ErrorKind::kUsage);
}

/// "merged=0.01": that lane sleeps so long in each turn.
std::function<void(const std::string&)> planted(const std::string& plant) {
  const std::size_t sign = plant.find('=');
  double seconds = 0;
  const char* end = plant.data() + plant.size();
  const auto parsed = sign == std::string::npos
                          ? std::from_chars_result{plant.data(), std::errc::invalid_argument}
                          : std::from_chars(plant.data() + sign + 1, end, seconds);
  if (parsed.ec != std::errc() || parsed.ptr != end || !(seconds >= 0)) {
    throw bad_plant(plant);
  }
  return [lane = plant.substr(0, sign), seconds](const std::string& name) {
    if (name == lane) {
      std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    }
  };
}

/// Keeps this thread, and the pool it starts afterwards, to as many processors as there are
/// threads: the last of those it may use, since interrupts mostly go to the first.
void pin_to_processors(int threads) {
  cpu_set_t allowed;
  if (threads <= 0 || sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return;
  }
  cpu_set_t chosen;
  CPU_ZERO(&chosen);
  for (int cpu = CPU_SETSIZE - 1, left = threads; cpu >= 0 && left > 0; --cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) {
      CPU_SET(static_cast<std::size_t>(cpu), &chosen);
      --left;
    }
  }
  sched_setaffinity(0, sizeof(chosen), &chosen);  // where it is not allowed, nothing changes
}

Report bench_report(const BenchFlags& flags, const CommandContext& context, ThreadPool& pool) {
  const BenchSetup& setup = flags.setup;
  Report report;
  report.tool.version = kVersion;
  report.tool.threads = pool.threads();
  report.tool.arithmetic = arithmetic_name(setup.engine.arithmetic);
  report.tool.machine = machine_name();
  report.inputs.base = setup.base.string();
  report.inputs.adapter = setup.adapter.string();
  report.inputs.merged = setup.merged.string();
  report.inputs.command = context.command_line;
  report.timing.emplace();
  report.timing->started = utc_now();
  return report;
}

void bench_lanes(BenchFlags& flags, std::vector<std::string> google_flags,
                 CommandContext& context) {
  if (flags.pin) {
    pin_to_processors(flags.threads);
  }
  ThreadPool pool(flags.threads);
  const MemoryWatch memory;
  flags.setup.options.settings = bench_settings(flags.prefill, flags.batches, flags.contexts);
  flags.setup.options.google_flags = std::move(google_flags);
  if (!flags.plant.empty()) {
    flags.setup.options.before_turn = planted(flags.plant);
  }
  Report report = bench_report(flags, context, pool);
  const auto begin = std::chrono::steady_clock::now();
  std::string google;
  {
    ProgressBar bar(context.terminal, "bench");
    google = measure_throughput(flags.setup, pool, report, [&](double done) { bar.update(done); });
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  report.timing->wall_s = taken.count();
  report.memory = memory.peaks();
  give_report(report, {.out = flags.out, .json = flags.json}, context.terminal,
              [&](std::vector<std::string>& files) {
                if (flags.google_json.empty() && !flags.out.empty()) {
                  flags.google_json = (flags.out / "google-benchmark.json").string();
                }
                if (!flags.google_json.empty()) {
                  write_file_atomically(flags.google_json, google);
                  files.push_back(flags.google_json);
                }
              });
  context.exit_code = exit_code(report.status);
}

/// Options of our own engine's benchmark, which a server would silently not hear of.
constexpr const char* kOfOurEngine[] = {"--prefill",  "--decode",       "--contexts",    "--ranks",
                                        "--adapters", "--decode-steps", "--cache-bytes", "--plant",
                                        "--pin",      "--google-json"};

/// The folders that a server's answers are held against: each model's own.
void require_folders_of_logprobs(const ServerFlags& server, const BenchSetup& setup) {
  if (server.logprobs == 0) {
    return;
  }
  const auto require = [](const char* name, const std::filesystem::path& folder) {
    if (folder.empty()) {
      throw CLI::RequiredError(std::string("--logprobs: ") + name);
    }
  };
  require("--merged", setup.merged);
  if (!server.adapter_model.empty()) {
    require("--base", setup.base);
    require("--adapter", setup.adapter);
  }
}

void bench_engine_or_server(BenchFlags& flags, const CLI::App& command, CommandContext& context) {
  if (flags.server.url.empty()) {
    if (flags.setup.base.empty()) {
      throw CLI::RequiredError("--base");
    }
    bench_lanes(flags, command.remaining(), context);
    return;
  }
  for (const char* name : kOfOurEngine) {
    if (command.count(name) > 0) {
      throw CLI::ExcludesError(name, "--openai");
    }
  }
  if (!command.remaining().empty()) {
    throw CLI::ExtrasError(command.remaining());
  }
  if (flags.server.model.empty()) {
    throw CLI::RequiredError("--model");
  }
  require_folders_of_logprobs(flags.server, flags.setup);
  flags.server.threads = flags.threads;
  bench_server(flags.server, flags.setup, {.out = flags.out, .json = flags.json}, context);
}

}  // namespace

std::vector<BenchSetting> bench_settings(const std::vector<std::int64_t>& prefill,
                                         const std::vector<std::int64_t>& batches,
                                         const std::vector<std::int64_t>& contexts) {
  std::vector<BenchSetting> settings;
  for (const std::int64_t length : prefill) {
    settings.push_back({"prefill", length, 1});
  }
  for (const std::int64_t context : contexts) {
    for (const std::int64_t batch : batches) {
      settings.push_back({"decode", context, batch});
    }
  }
  return settings;
}

void decide_again(Report& report) {
  report.status = decide_status({.findings = report.findings,
                                 .verdicts = report.verdicts,
                                 .input_error = false,
                                 .internal_error = false,
                                 .not_checked = !report.not_checked.empty()});
}

std::string measure_throughput(const BenchSetup& setup, ThreadPool& pool, Report& report,
                               const std::function<void(double)>& progress) {
  const BackendOptions settings{
      .arithmetic = setup.engine.arithmetic, .pool = &pool, .isa = setup.engine.isa};
  const BackendChoice choice = choose_backend(setup.engine.backend, settings);
  if (!choice.why.empty()) {
    report.findings.push_back(engine_note(choice.why));
  }
  const std::unique_ptr<Backend> backend = make_backend(choice.name, settings);
  report.tool.backend = backend->info().name + " (" + backend->info().isa + ")";
  const BenchLineup lineup(setup);
  BenchRun run = run_bench(*backend, lineup.lanes(), lineup.pairs(), setup.options, pool, progress);
  report.bench = std::move(run.result);
  report.findings.insert(report.findings.end(), run.findings.begin(), run.findings.end());
  for (Verdict& verdict : judge_bench(*report.bench, lineup.reference(), "merged")) {
    report.verdicts.push_back(std::move(verdict));
  }
  decide_again(report);
  return run.google_json;
}

void add_bench_command(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<BenchFlags>();
  BenchSetup& setup = flags->setup;
  CLI::App* command = app.add_subcommand(
      "bench",
      "Measure prefill and decoding of base, base + adapter and merged in paired rounds; "
      "--benchmark_... flags go to Google Benchmark.  With --openai: of a running server");
  // What it does not know is for Google Benchmark, so it must not be offered to the program, whose
  // one flag stands here again.
  command->fallthrough(false);
  command->allow_extras();
  command->add_flag("-q,--quiet", context.terminal.quiet, "No progress, only results and errors");
  command->add_option("--base", setup.base, "folder of the base model (required without --openai)");
  command->add_option("--adapter", setup.adapter, "folder of the LoRA adapter (or .gguf file)");
  command->add_option("--merged", setup.merged, "folder of the merged model");
  const auto list = [&](const char* name, std::vector<std::int64_t>& values, const char* help) {
    command->add_option(name, values, help)
        ->delimiter(',')
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
  };
  list("--prefill", flags->prefill, "lengths of prompts to prefill");
  list("--decode", flags->batches, "prompts at once to decode");
  list("--contexts", flags->contexts, "tokens in the cache when decoding begins");
  list("--ranks", setup.ranks, "also measure adapters of these ranks, random ones");
  list("--adapters", setup.adapters, "also measure so many adapters (rank 16) in one batch");
  command->add_option("--rounds", setup.options.rounds, "after one that is dropped")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--margin", setup.options.margin, "ratios within 1 + this are equivalent")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--decode-steps", setup.options.decode_steps, "tokens of each prompt in a turn")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--cache-bytes", setup.options.cache_limit,
                   "settings whose caches need more are left out")
      ->capture_default_str();
  command->add_option("--plant", flags->plant,
                      "LANE=SECONDS: slow a lane down, to see that its gate fails");
  command->add_option("--backend", setup.engine.backend, "cpu, cuda, auto or reference")
      ->capture_default_str();
  command->add_option("--isa", setup.engine.isa, "pin the instruction set of the cpu backend");
  command->add_option("--threads", flags->threads, "0: all cores")->check(CLI::NonNegativeNumber);
  command->add_flag("--pin", flags->pin, "keep --threads threads to as many processors");
  command->add_option("--json", flags->json, "also write report.json here; - for standard output");
  command->add_option("--google-json", flags->google_json,
                      "write Google Benchmark's own JSON here (default: in --out)");
  command->add_option("--out", flags->out, "folder for the reports (default: none)");
  add_server_options(*command, flags->server);
  command->callback(
      [flags, command, &context] { bench_engine_or_server(*flags, *command, context); });
}

}  // namespace mg
