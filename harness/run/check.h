// The main job: audit and comparison of one merge, judged, as one report.
// Not for: printing or writing it (harness/cli, reports) or the exit code
// (harness/result/status.h).
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/result/report.h"
#include "harness/run/compare.h"
#include "harness/run/damage.h"
#include "kernels/core/parallel.h"

namespace mg {

struct CheckOptions {
  std::filesystem::path base;
  std::filesystem::path adapter;
  std::filesystem::path merged;
  std::filesystem::path trained_on;         // the base the adapter was trained on; empty: `base`
  std::vector<std::filesystem::path> also;  // what is served in merged's place: files or folders
  std::string also_gates;                   // their profile's name or file; empty: "served"
  BlockOrder block_order = BlockOrder::kByRow;
  std::vector<std::string> suites;  // empty: the built-in smoke suite
  std::string gates;                // profile name or file; empty: by merged's stored dtype
  std::int64_t token_budget = 0;    // 0: every prompt
  std::int64_t prompt_tokens = 0;   // run this many tokens of each prompt; 0: all of them
  CompareOptions compare;
  bool audit = true;    // false: `mergegauge compare`
  bool digests = true;  // SHA-256 of every input file
  std::vector<std::string> accepted_keys;
  // Where the noise floor is kept for later runs of the same base, adapter and options.
  std::shared_ptr<std::optional<FloorRun>> known_floor;
  Damage damage = Damage::kNone;  // planted into what is read of merged's weights
  std::string command;            // as typed, for the report
  std::string version;
};

/// Called with a phase's name and the share of it that is done.
using CheckProgress = std::function<void(const std::string& phase, double done)>;

/// Never throws mg::Error: what ends the run, or a part of it, is in the report, with its status.
Report run_check(const CheckOptions& options, ThreadPool& pool, const CheckProgress& progress);

}  // namespace mg
