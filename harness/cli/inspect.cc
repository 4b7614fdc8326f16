// mergegauge inspect DIR: what a checkpoint or an adapter holds.
#include "harness/cli/inspect.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "harness/cli/command.h"
#include "harness/cli/decode.h"

namespace mg {
namespace {

struct InspectArguments {
  std::string folder;
  std::string base;
  std::string json;
  std::string decode;
};

// Describing a folder is not judging it: problems are shown and the exit code stays 0; `lint` and
// `check` fail on them.
void inspect(const InspectArguments& arguments, const Terminal& terminal) {
  std::optional<std::filesystem::path> base;
  if (!arguments.base.empty()) {
    base = arguments.base;
  }
  const FolderFacts facts = inspect_folder(arguments.folder, base);
  if (!arguments.json.empty()) {
    write_json(inspect_json(facts), arguments.json);
  }
  if (arguments.json != "-") {
    fmt::print("{}", inspect_text(facts, terminal));
  }
  if (!arguments.decode.empty()) {
    decode_to_folder(arguments.folder, arguments.decode);
  }
}

}  // namespace

void add_inspect_command(CLI::App& app, CommandContext& context) {
  const auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command =
      app.add_subcommand("inspect", "Show what a checkpoint or an adapter holds, on one screen");
  command
      ->add_option("DIR", arguments->folder,
                   "A checkpoint's or an adapter's folder, or a GGUF file")
      ->required();
  command->add_option("--base", arguments->base,
                      "Attach the adapter in DIR to this base, and say what does not fit");
  command->add_option("--json", arguments->json, "Write everything as JSON to a file, or to - ");
  command->add_option("--decode", arguments->decode,
                      "Write the checkpoint as FP32 here: codes as the numbers they stand for; a "
                      "folder that does not exist");
  command->callback([arguments, &context] { inspect(*arguments, context.terminal); });
}

}  // namespace mg
