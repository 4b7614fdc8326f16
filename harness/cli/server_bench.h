// `mergegauge bench --openai URL`: a running server instead of our own engine.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/cli/bench.h"
#include "harness/cli/command.h"
#include "harness/cli/report_output.h"

namespace mg {

struct ServerFlags {
  std::string url;  // empty: our own engine is measured
  std::string model;
  std::string adapter_model;
  std::vector<std::string> suites;
  std::int64_t requests = 16;
  std::int64_t concurrency = 8;
  std::int64_t max_tokens = 64;
  std::optional<double> rate;
  double timeout_s = 120;
  double error_limit = 0;
  bool stop_at_eos = false;
  std::int64_t logprobs = 0;  // likeliest tokens to compare with our own engine's; 0: none
  int threads = 0;            // of our own engine
};

/// Adds the options; they need --openai.
CLI::Option* add_server_options(CLI::App& command, ServerFlags& flags);

/// Measures, and gives the report.
void bench_server(const ServerFlags& flags, const BenchSetup& setup, const ReportTargets& targets,
                  CommandContext& context);

}  // namespace mg
