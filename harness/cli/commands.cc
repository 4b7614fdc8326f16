#include "harness/cli/command.h"

#include <map>

namespace mg {

// One line a command; each lives in its own file.  The order is that of the help.
void add_check_command(CLI::App& app, CommandContext& context);
void add_audit_command(CLI::App& app, CommandContext& context);
void add_bench_command(CLI::App& app, CommandContext& context);
void add_compare_command(CLI::App& app, CommandContext& context);
void add_devicetest_command(CLI::App& app, CommandContext& context);
void add_diff_command(CLI::App& app, CommandContext& context);
void add_generate_command(CLI::App& app, CommandContext& context);
void add_inspect_command(CLI::App& app, CommandContext& context);
void add_lint_command(CLI::App& app, CommandContext& context);
void add_logits_command(CLI::App& app, CommandContext& context);
void add_merge_command(CLI::App& app, CommandContext& context);
void add_selftest_command(CLI::App& app, CommandContext& context);
void add_suites_command(CLI::App& app, CommandContext& context);
void add_tokenize_command(CLI::App& app, CommandContext& context);
void add_render_command(CLI::App& app, CommandContext& context);
void add_trend_command(CLI::App& app, CommandContext& context);
void add_report_command(CLI::App& app, CommandContext& context);

void add_block_order(CLI::App& command, BlockOrder& order) {
  const std::map<std::string, BlockOrder> kOrders{{"row", BlockOrder::kByRow},
                                                  {"flat", BlockOrder::kFlat}};
  command
      .add_option("--block-order", order,
                  "4-bit rows that end inside a block of scales: row (as bitsandbytes' AVX-512 CPU "
                  "code reads them, the default) or flat (as its CUDA code does)")
      ->transform(CLI::CheckedTransformer(kOrders));
}

void add_commands(CLI::App& app, CommandContext& context) {
  add_check_command(app, context);
  add_audit_command(app, context);
  add_compare_command(app, context);
  add_diff_command(app, context);
  add_generate_command(app, context);
  add_bench_command(app, context);
  add_inspect_command(app, context);
  add_lint_command(app, context);
  add_logits_command(app, context);
  add_merge_command(app, context);
  add_selftest_command(app, context);
  add_suites_command(app, context);
  add_tokenize_command(app, context);
  add_render_command(app, context);
  add_report_command(app, context);
  add_trend_command(app, context);
  add_devicetest_command(app, context);
}

}  // namespace mg
