// The program: reads the command line, runs one command, prints errors, chooses the exit code
// (DESIGN.md section 6).
#include <cstdio>
#include <exception>

#include "harness/cli/command.h"
#include "harness/cli/version.h"
#include "kernels/core/error.h"

namespace {

constexpr int kExitInput = 2;
constexpr int kExitInternal = 4;

std::string joined(int argc, char** argv) {
  std::string line = "mergegauge";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain =
        !word.empty() && word.find_first_of(" \t\n'\"\\$&|;<>()*?") == std::string::npos;
    line += plain ? " " + word : " '" + word + "'";
  }
  return line;
}

int run(int argc, char** argv) {
  CLI::App app{"Proves, with numbers, that a merged LoRA checkpoint equals base + adapter."};
  app.set_version_flag("--version", std::string("mergegauge ") + mg::kVersion);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::help);
  mg::CommandContext context;
  context.terminal = mg::Terminal::detect();
  context.command_line = joined(argc, argv);
  app.add_flag("--quiet", context.terminal.quiet, "no progress bars");
  mg::add_commands(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitInput;
  }
  return context.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const mg::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.kind() == mg::ErrorKind::kInternal ? kExitInternal : kExitInput;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error[internal.exception]: %s\n", error.what());
    return kExitInternal;
  }
}
