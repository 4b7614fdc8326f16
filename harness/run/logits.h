// `mergegauge logits`: the engine's logits as a file, for anyone who wants to check them.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/quantised_tensor.h"
#include "kernels/backend.h"
#include "kernels/core/parallel.h"

namespace mg {

struct LogitsOptions {
  std::filesystem::path model;
  std::optional<std::filesystem::path> adapter;
  std::vector<std::string> suites;
  std::filesystem::path out;
  BlockOrder block_order = BlockOrder::kByRow;
  std::string backend = "cpu";
  std::string isa;
  Arithmetic arithmetic = Arithmetic::kExact;
  std::int64_t token_budget = 0;
  std::int64_t chunk_tokens = 1024;  // rows in work at once; no logit depends on it
};

struct LogitsSummary {
  std::int64_t prompts = 0;
  std::int64_t tokens = 0;
  std::int64_t vocab_size = 0;
  BackendInfo backend;
  std::vector<std::string> notes;
};

/// Writes FP32 logits [T, V] under each prompt's id.  `progress` is called with the share done.
LogitsSummary write_logits(const LogitsOptions& options, ThreadPool& pool,
                           const std::function<void(double)>& progress);

}  // namespace mg
