// `mergegauge generate`: base, base + adapter and merged go on from the same prompts, and what they
// write is laid side by side.  Not for: the steps (text_decoder.h), printing (reports).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "harness/result/report.h"
#include "harness/run/check.h"
#include "harness/run/compare.h"
#include "harness/run/text_decoder.h"
#include "kernels/core/parallel.h"

namespace mg {

struct GenerateOptions {
  std::filesystem::path base;
  std::filesystem::path adapter;  // empty: no such lane
  std::filesystem::path merged;   // empty: no such lane
  std::vector<std::string> suites;
  std::int64_t token_budget = 0;  // of the prompts; 0: every prompt
  std::int64_t max_tokens = 64;   // of a text
  std::int64_t batch = 16;        // prompts at once: memory depends on it, texts do not
  Sampling sampling;
  EngineOptions engine;
  std::int64_t floor_tokens = 1024;  // on which the near-tie margin is measured; 0: none
  bool streamed = false;
  std::string command;
  std::string version;
};

/// Never throws mg::Error: what ends the run is in the report, with its status.
Report run_generate(const GenerateOptions& options, ThreadPool& pool,
                    const CheckProgress& progress);

/// Tokens to change, add or leave out to make one text of the other.
std::int64_t edit_distance(std::span<const std::int32_t> left, std::span<const std::int32_t> right);

/// Share of a text's runs of 4 tokens that occurred in it before; 0 for fewer than two runs.
double repetition_of(std::span<const std::int32_t> ids);

}  // namespace mg
