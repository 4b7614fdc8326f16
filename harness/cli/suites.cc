// mergegauge suites: the suites that are part of the program.
#include <fmt/format.h>

#include "harness/cli/command.h"
#include "suites/built_in.h"

namespace mg {

void add_suites_command(CLI::App& app, CommandContext&) {
  CLI::App* command = app.add_subcommand("suites", "List the built-in suites of prompts");
  command->callback([] {
    fmt::print("{:<12} {:>7} {:>7}  {}\n", "suite", "prompts", "tokens", "probes");
    for (const BuiltInSuite& suite : built_in_suites()) {
      fmt::print("{:<12} {:>7} {:>7}  {}\n", suite.name, suite.prompts, suite.tokens,
                 suite.description);
    }
    fmt::print(
        "\nTokens of the written suites are counted with SmolLM2's tokenizer. --suite also takes a "
        "JSONL file or a\nfolder with one, a .txt or .md file (a prompt a paragraph), and "
        "table.csv:COLUMN (a prompt a row).\n");
  });
}

}  // namespace mg
