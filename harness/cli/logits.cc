// mergegauge logits --model M [--adapter A] --suite S --out F.safetensors
#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <memory>

#include "harness/cli/command.h"
#include "harness/run/logits.h"

namespace mg {

void add_logits_command(CLI::App& app, CommandContext& context) {
  struct Flags {
    LogitsOptions options;
    std::string adapter;
    int threads = 0;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "logits", "Write the engine's FP32 logits [T, V] of every prompt to a safetensors file");
  command->add_option("--model", flags->options.model, "folder of a checkpoint, or a GGUF file")
      ->required();
  command->add_option("--adapter", flags->adapter,
                      "folder of a LoRA adapter (or .gguf file), kept unmerged");
  command
      ->add_option("--suite", flags->options.suites, "as for check: built-in name, file or folder")
      ->required();
  command->add_option("--out", flags->options.out, "file to write")->required();
  add_block_order(*command, flags->options.block_order);
  command->add_option("--backend", flags->options.backend, "cpu, cuda, auto, reference")
      ->capture_default_str();
  command->add_option("--isa", flags->options.isa, "pin the instruction set of the cpu backend");
  const std::map<std::string, Arithmetic> kinds{
      {"exact", Arithmetic::kExact}, {"fp16", Arithmetic::kFp16}, {"bf16", Arithmetic::kBf16}};
  command->add_option("--arithmetic", flags->options.arithmetic, "exact, fp16 or bf16")
      ->transform(CLI::CheckedTransformer(kinds));
  command->add_option("--tokens", flags->options.token_budget, "at most this many tokens")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--chunk-tokens", flags->options.chunk_tokens,
                   "tokens in work at once: memory and speed depend on it, logits do not")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--threads", flags->threads, "0: all cores")->check(CLI::NonNegativeNumber);
  command->callback([flags, &context] {
    if (!flags->adapter.empty()) {
      flags->options.adapter = flags->adapter;
    }
    ThreadPool pool(flags->threads);
    LogitsSummary summary;
    {
      ProgressBar bar(context.terminal, "logits");
      summary = write_logits(flags->options, pool, [&bar](double done) { bar.update(done); });
    }
    for (const std::string& note : summary.notes) {
      fmt::print(stderr, "note: {}\n", note);
    }
    fmt::print("{}: {} prompts, {} tokens, vocabulary {} ({}, {}, {} threads)\n",
               flags->options.out.string(), summary.prompts, summary.tokens, summary.vocab_size,
               summary.backend.name, summary.backend.isa, summary.backend.threads);
  });
}

}  // namespace mg
