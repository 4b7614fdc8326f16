// The program: reads the command line, runs one command, prints errors, chooses the exit code
// (DESIGN.md section 6).
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "harness/cli/command.h"
#include "harness/cli/version.h"
#include "harness/model/config_reader.h"
#include "harness/result/status.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

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

[[noreturn]] void fail_usage(ErrorParts parts) {
  throw Error(std::move(parts), ErrorKind::kUsage);
}

// CLI11 says only that an argument was not expected; say which command was probably meant.
void check_command(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  const std::vector<std::string_view> views(names.begin(), names.end());
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("-")) {
      continue;
    }
    if (std::find(views.begin(), views.end(), argument) == views.end()) {
      const std::string_view near = nearest_name(argument, views);
      fail_usage({.code = "usage.unknown-command",
                  .what = "there is no such command",
                  .where = {},
                  .expected = "one of " + join_names(views),
                  .actual = std::string(argument),
                  .hint = near.empty() ? "`mergegauge --help` says what each does"
                                       : fmt::format("did you mean \"{}\"?", near)});
    }
    return;
  }
}

[[noreturn]] void fail_arguments(const CLI::App& app, const CLI::ParseError& error) {
  std::string command = app.get_name();
  for (const CLI::App* chosen : app.get_subcommands()) {
    command += " " + chosen->get_name();
  }
  fail_usage({.code = "usage.arguments",
              .what = error.what(),
              .where = {},
              .expected = {},
              .actual = {},
              .hint = fmt::format("`{} --help` lists the options", command)});
}

// Text that did not arrive is a failure, whichever command printed it.
void check_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw Error({.code = "output.cannot-write",
                 .what = "the output could not be written",
                 .where = "standard output",
                 .expected = {},
                 .actual = std::strerror(errno),
                 .hint = "free some space, or write to another place"},
                ErrorKind::kInternal);
  }
}

int run(int argc, char** argv) {
  CLI::App app{"Proves, with numbers, that a merged LoRA checkpoint equals base + adapter.",
               "mergegauge"};
  app.set_version_flag("--version", fmt::format("mergegauge {} ({})", kVersion, build_commit()),
                       "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(0, 1);
  app.fallthrough();
  CommandContext context;
  context.terminal = Terminal::detect();
  context.command_line = joined(argc, argv);
  app.add_flag("-q,--quiet", context.terminal.quiet, "No progress, only results and errors");
  add_commands(app, context);
  check_command(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    app.exit(wanted);
    check_output();
    return 0;
  } catch (const CLI::ParseError& error) {
    fail_arguments(app, error);
  }
  if (app.get_subcommands().empty()) {
    fmt::print(stderr, "{}", app.help());
    return exit_code(RunStatus::kInputError);
  }
  check_output();
  return context.exit_code;
}

int report(const std::string& text, RunStatus status) {
  fmt::print(stderr, "{}\n", text);
  return exit_code(status);
}

}  // namespace
}  // namespace mg

int main(int argc, char** argv) {
  using mg::RunStatus;
  try {
    return mg::run(argc, argv);
  } catch (const mg::Error& error) {
    return mg::report(error.what(), error.kind() == mg::ErrorKind::kInternal
                                        ? RunStatus::kInternalError
                                        : RunStatus::kInputError);
  } catch (const std::bad_alloc&) {
    return mg::report("error[internal.memory]: out of memory", RunStatus::kInternalError);
  } catch (const std::exception& error) {
    return mg::report(fmt::format("error[internal.exception]: {}\n  hint:     this is a bug in "
                                  "mergegauge; please report it with the command you ran",
                                  error.what()),
                      RunStatus::kInternalError);
  }
}
