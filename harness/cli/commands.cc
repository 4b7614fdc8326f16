#include "harness/cli/command.h"

namespace mg {

void add_commands(CLI::App& app, CommandContext& context) {
  static_cast<void>(app);
  static_cast<void>(context);
}

}  // namespace mg
