// The same prompts through base, base + adapter and merged (and re-merges), and what tells them
// apart. Not for: judging the differences (harness/verdict) or the weights themselves
// (harness/audit).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/altered_tensors.h"
#include "harness/lanes/lockstep.h"
#include "harness/metrics/summary.h"
#include "harness/result/report.h"
#include "harness/result/token_rows.h"
#include "harness/run/models.h"
#include "harness/run/prompts.h"

namespace mg {

struct EngineOptions {
  std::string backend = "cpu";  // "auto" was resolved before (kernels/registry.h)
  std::string isa;              // empty: the best this machine has
  Arithmetic arithmetic = Arithmetic::kExact;
};

/// Tokens on which a half of a layer is fed the reference's input.  Its drift is one ratio over
/// tokens x H differences, held against a limit of kDeparted times the expected one; 256 tokens
/// give it to 5 % (SmolLM2, docs/performance.md).
inline constexpr std::int64_t kDriftTokens = 256;
/// Tokens on which a lane is run against itself.  What makes a lane differ from itself (threads,
/// memory that was not written, rows that lie elsewhere) shows in any prompt.
inline constexpr std::int64_t kSelfTokens = 256;

/// A second base with the adapter on it, run beside the first: the one that merged was not made
/// from, where the adapter was trained on another than it was merged into.
struct OtherBase {
  const OpenModel* base = nullptr;
  const OpenAdapter* adapter = nullptr;
  std::string lane;  // kTrainedLane or kGivenLane
};

/// OtherBase::lane: the adapter on the base it was trained on, beside the one merged was made from;
/// and on the base that was given, beside that.
inline constexpr const char* kTrainedLane = "trained";
inline constexpr const char* kGivenLane = "given";

/// A model that is to be served in merged's place: a quantised file made of it.  Compared with
/// merged, not with the adapter.
struct ServedModel {
  const OpenModel* model = nullptr;
  std::string lane;
};

struct CompareOptions {
  EngineOptions engine;
  bool remerge = false;              // add our own re-merge, stored as merged is
  std::vector<DType> what_if;        // add re-merges stored as these
  std::int64_t chunk_tokens = 1024;  // rows of a lane in work at once; no result depends on it
  std::int64_t forced_tokens = kDriftTokens;
  std::int64_t floor_tokens = 1024;  // 0: no noise floor
  std::int64_t evidence = 12;
  BootstrapPlan bootstrap;
  TokenRows* token_rows = nullptr;          // filled with every metric of every row, if given
  const AlteredTensors* altered = nullptr;  // what is read of merged instead of its own bytes
  OtherBase other;                          // adds a lane, and pairs with merged and with adapter
  std::vector<ServedModel> served;          // adds a lane each, and its pair with merged
};

/// The arithmetic's own noise, measured on some of the prompts: the reference lane in `exact`
/// against itself in serving arithmetic; and, on kSelfTokens of them, against itself once more
/// (A/A), which must be exactly equal.
struct FloorRun {
  Floor floor;
  Comparison noise;                 // adapter (exact) against adapter (serving)
  bool self_compare_exact = false;  // A/A gave 0 in every metric of every row
  std::vector<HalfDrift> drift;     // of each half of a layer; empty: not all finite
  std::vector<Finding> findings;    // the serving arithmetic overflows; notes on the engine
  bool overflow = false;            // no floor then
};

FloorRun measure_floor(const OpenModel& base, const OpenAdapter& adapter, DType serving,
                       const Prompts& prompts, const CompareOptions& options, ThreadPool& pool,
                       const std::function<void(double)>& progress);

struct CompareRun {
  std::vector<Comparison> comparisons;  // adapter/merged first
  std::vector<Finding> findings;        // the half that departs, non-finite hidden states
  BackendInfo backend;
};

/// Throws Error "lanes.shape" where merged cannot run beside base, "model.quantised",
/// "checkpoint.tensors", ...
CompareRun compare_lanes(const OpenModel& base, const OpenAdapter& adapter, const OpenModel& merged,
                         const Prompts& prompts, const CompareOptions& options,
                         const FloorRun* floor, ThreadPool& pool,
                         const std::function<void(double)>& progress);

/// What the choice between the two bases cost, as a note: from the pairs that OtherBase added.
Finding merge_base_note(const std::vector<Comparison>& comparisons, const std::string& other_lane);

/// What a reader should know of how the numbers were computed: a note, "compare.engine".
Finding engine_note(const std::string& message);

/// The dtype that most of a checkpoint's bytes are stored in.
DType stored_dtype(const Checkpoint& checkpoint);

}  // namespace mg
