// mergegauge merge: the correct merge, rounded once.
#include "harness/audit/merge.h"

#include <fmt/format.h>

#include <memory>
#include <string>

#include "harness/cli/command.h"
#include "harness/cli/version.h"

namespace mg {
namespace {

struct MergeArguments {
  std::string base;
  std::string adapter;
  std::string out;
  std::string dtype;
  std::uint64_t shard_bytes = 5'000'000'000;
  bool dequantise = false;
  BlockOrder block_order = BlockOrder::kByRow;
  int threads = 0;
};

std::optional<DType> dtype_of(const std::string& name) {
  if (name == "float16" || name == "f16" || name == "fp16") {
    return DType::kF16;
  }
  if (name == "bfloat16" || name == "bf16") {
    return DType::kBF16;
  }
  if (name == "float32" || name == "f32" || name == "fp32") {
    return DType::kF32;
  }
  return std::nullopt;
}

void merge_command(const MergeArguments& arguments, CommandContext& context) {
  const Checkpoint base = Checkpoint::open(
      arguments.base, {.decode = arguments.dequantise, .block_order = arguments.block_order});
  const Adapter adapter = Adapter::open(arguments.adapter);
  const AttachedAdapter attached = attach(adapter, base);
  ThreadPool pool(arguments.threads);
  ProgressBar bar(context.terminal, "merge");
  MergeOptions options;
  options.dtype = dtype_of(arguments.dtype);
  options.shard_bytes = arguments.shard_bytes;
  options.tool = std::string("mergegauge ") + kVersion;
  options.command = context.command_line;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    bar.update(total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total));
  };
  const MergeSummary summary =
      merge_to_folder(base, adapter, attached, arguments.out, pool, options);
  std::string text =
      fmt::format("wrote {}: {} tensors in {} file{}, {} merged, {} replaced\n", arguments.out,
                  summary.tensors, summary.weight_files.size(),
                  summary.weight_files.size() == 1 ? "" : "s", summary.merged, summary.replaced);
  if (summary.dequantised > 0) {
    text += fmt::format("  base         {} weights dequantised to FP32, then merged\n",
                        summary.dequantised);
  }
  for (const std::string& change : summary.config_changes) {
    text += fmt::format("  config.json  {}\n", change);
  }
  text += fmt::format("  copied       {}\n",
                      summary.side_files.empty()
                          ? "nothing"
                          : fmt::format("{}", fmt::join(summary.side_files, ", ")));
  text += "  provenance   mergegauge_merge.json\n";
  fmt::print("{}", text);
}

}  // namespace

void add_merge_command(CLI::App& app, CommandContext& context) {
  const auto arguments = std::make_shared<MergeArguments>();
  CLI::App* command =
      app.add_subcommand("merge", "write base + adapter, computed exactly and rounded once");
  command->add_option("--base", arguments->base, "folder of the model the adapter was trained on")
      ->required();
  command
      ->add_option("--adapter", arguments->adapter,
                   "PEFT adapter folder, or an adapter in a .gguf file")
      ->required();
  command->add_option("--out", arguments->out, "folder to make; must not exist")->required();
  command
      ->add_option("--dtype", arguments->dtype,
                   "stored dtype: float16, bfloat16 or float32 (default: the base's)")
      ->check(
          CLI::IsMember({"float16", "f16", "fp16", "bfloat16", "bf16", "float32", "f32", "fp32"}));
  command
      ->add_option("--shard-size", arguments->shard_bytes,
                   "largest weight file, such as 5GB (default) or 500MB")
      ->transform(CLI::AsSizeValue(true));
  command->add_flag(
      "--dequantise,--dequantize", arguments->dequantise,
      "merge into a base stored as bitsandbytes' codes, as the numbers they stand for");
  add_block_order(*command, arguments->block_order);
  command->add_option("--threads", arguments->threads, "threads; 0 takes all cores")
      ->check(CLI::NonNegativeNumber);
  command->callback([arguments, &context] { merge_command(*arguments, context); });
}

}  // namespace mg
