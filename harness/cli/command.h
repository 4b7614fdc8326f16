// What every command of the program has in common.  To add a command: one file with one add_...
// function, one line in commands.cc.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "harness/cli/terminal.h"
#include "harness/io/quantised_tensor.h"

namespace mg {

/// Where a command leaves its exit code and finds the terminal.
struct CommandContext {
  Terminal terminal;
  int exit_code = 0;
  std::string command_line;  // as typed, for the report
};

/// Adds every command.
void add_commands(CLI::App& app, CommandContext& context);

/// --block-order of the commands that read quantised bases.
void add_block_order(CLI::App& command, BlockOrder& order);

/// Writes JSON with two spaces of indentation and a final newline to a file, or to standard output
/// for "-".  Throws Error "output.cannot-write".
void write_json(const nlohmann::ordered_json& json, const std::string& path);

}  // namespace mg
