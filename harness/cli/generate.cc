// mergegauge generate: base, base + adapter and merged write texts side by side.
#include <fmt/format.h>

#include <memory>

#include "harness/cli/command.h"
#include "harness/cli/report_output.h"
#include "harness/cli/version.h"
#include "harness/run/generate.h"

namespace mg {
namespace {

struct GenerateFlags {
  GenerateOptions options;
  std::filesystem::path out;
  std::string json;  // a file, or - for standard output
  int threads = 0;
};

void generate_texts(GenerateFlags& flags, CommandContext& context) {
  ThreadPool pool(flags.threads);
  flags.options.command = context.command_line;
  flags.options.version = kVersion;
  PhaseBar bar(context.terminal);
  const Report report = run_generate(
      flags.options, pool, [&](const std::string& name, double done) { bar.update(name, done); });
  bar.finish();
  give_report(report, {.out = flags.out, .json = flags.json}, context.terminal);
  context.exit_code = exit_code(report.status);
}

}  // namespace

void add_generate_command(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<GenerateFlags>();
  GenerateOptions& options = flags->options;
  CLI::App* command = app.add_subcommand(
      "generate", "Let base, base + adapter and merged write texts, and lay them side by side");
  command->add_option("--base", options.base, "folder of the base model")->required();
  command->add_option("--adapter", options.adapter, "folder of the LoRA adapter (or .gguf file)");
  command->add_option("--merged", options.merged, "folder of the merged model");
  command
      ->add_option("--suite", options.suites,
                   "prompts and scenarios, as for check; may be given several times")
      ->required();
  command->add_option("--tokens", options.token_budget, "prompts of at most this many tokens")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--max-tokens", options.max_tokens, "tokens of a text at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--batch", options.batch,
                   "prompts at once: memory and speed depend on it, texts do not")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--temperature", options.sampling.temperature,
                   "sample; 0 takes the most likely token each time")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--top-p", options.sampling.top_p, "sample among this share of probability")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--top-k", options.sampling.top_k, "sample among so many tokens; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--seed", options.sampling.seed, "of the samples")->capture_default_str();
  command
      ->add_option("--floor-tokens", options.floor_tokens,
                   "tokens on which the margin of a near tie is measured (0: none)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--backend", options.engine.backend, "cpu, cuda, auto or reference")
      ->capture_default_str();
  command->add_option("--isa", options.engine.isa, "pin the instruction set of the cpu backend");
  const std::map<std::string, Arithmetic> kinds{
      {"exact", Arithmetic::kExact}, {"fp16", Arithmetic::kFp16}, {"bf16", Arithmetic::kBf16}};
  command->add_option("--arithmetic", options.engine.arithmetic, "exact, fp16 or bf16")
      ->transform(CLI::CheckedTransformer(kinds));
  command->add_flag("--streamed", options.streamed,
                    "give each layer's weights back after its use: less memory, slower");
  command->add_option("--threads", flags->threads, "0: all cores")->check(CLI::NonNegativeNumber);
  command->add_option("--json", flags->json, "also write report.json here; - for standard output");
  command->add_option("--out", flags->out, "folder for the reports (default: none)");
  command->callback([flags, &context] { generate_texts(*flags, context); });
}

}  // namespace mg
