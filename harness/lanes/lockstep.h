// Several lanes through the same prompts, one layer in memory at a time (DESIGN.md section 2): each
// layer's bytes are read once for all lanes, and differences of hidden states are measured while
// both are at hand. Images go through the vision tower first, in the same way (tower.h).  Not for:
// what the logits mean (harness/metrics) or which lanes there should be (harness/run).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/lanes/batch.h"
#include "harness/lanes/drift.h"
#include "harness/lanes/weight_source.h"
#include "kernels/backend.h"
#include "kernels/core/parallel.h"

namespace mg {

/// Lanes on one backend share products; the noise floor runs one source on two backends of
/// different arithmetic.
struct Lane {
  std::string name;
  WeightSource* source = nullptr;
  Backend* backend = nullptr;
};

/// Throws Error "lanes.shape" when a lane has other sizes than lanes[reference].
void require_same_sizes(std::span<const Lane> lanes, std::size_t reference);

struct LockstepOptions {
  std::size_t reference = 0;          // index of the lane that others are measured against
  std::vector<std::size_t> subjects;  // lanes whose hidden states are compared with the reference's
  /// Beside `subjects`, where a subject is compared with another lane than `reference`; empty:
  /// every one with `reference`.
  std::vector<std::size_t> subject_references;
  std::int64_t forced_tokens =
      0;  // budget of tokens that subjects also run on the reference's inputs
  std::int64_t chunk_tokens = 1024;  // rows of a lane in work at once; results do not depend on it
  std::size_t logits_bytes = std::size_t{64} << 20;
  /// Instead of a choice by forced_tokens: indices of prompts, rising.
  std::optional<std::vector<std::size_t>> forced_prompts = std::nullopt;
  bool keep_rows = false;     // fill LockstepResult::rows
  bool fingerprints = false;  // of the last hidden states, which are read for it

  std::size_t reference_of(std::size_t subject) const {
    return subject_references.empty() ? reference : subject_references[subject];
  }
};

/// Logits of some consecutive rows of the batch, FP32 [rows, vocab[i]] for each lane; valid during
/// the call.
struct LogitChunk {
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::vector<std::span<const float>> lanes;
  std::vector<std::int64_t> vocab;
};

/// The same where they lie, all within reach of `statistics`.
struct PlacedLogits {
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::vector<Mat> lanes;
  RowStatistics* statistics = nullptr;
};

class Observer {
 public:
  virtual ~Observer() = default;
  /// Called once for every row of the batch, in order, a chunk at a time.
  virtual void logits(const LogitChunk& rows) = 0;
  /// Instead of logits() where they lie on a device that has statistics of its own: true where that
  /// is all that is wanted, false to have them read.
  virtual bool placed_logits(const PlacedLogits& rows) {
    static_cast<void>(rows);
    return false;
  }
  /// Share of the work done, 0 to 1.
  virtual void progress(double done) { static_cast<void>(done); }
};

enum class Stack : std::uint8_t { kVision, kLanguage };
/// The halves of a layer; of a vision tower also what stands before its first block and after its
/// last.
enum class Part : std::uint8_t { kPatchEmbed, kAttention, kMlp, kMerger };

/// |h_subject - h_reference| / |h_reference| after one part of a stack, over all rows.
struct HalfDrift {
  Stack stack = Stack::kLanguage;
  std::int64_t layer = 0;  // of the merger: behind the last block
  Part part = Part::kAttention;
  double free_rel = 0;
  std::optional<double> forced_rel;  // the part alone, fed the reference's input
  std::vector<double> prompt_rel;    // free, per prompt; 0 in a tower for prompts without images

  bool same_place(const HalfDrift& other) const {
    return stack == other.stack && layer == other.layer && part == other.part;
  }
};

/// What a HalfDrift is made of.
struct HalfRows {
  RowDrift free;
  RowDrift forced;  // no rows: no sample
};

/// First row and rows of each prompt of a run, in what a stack's rows are.
using PromptRowRanges = std::vector<std::pair<std::int64_t, std::int64_t>>;

/// `place` with the numbers of these rows.
HalfDrift half_drift(const HalfDrift& place, const HalfRows& rows, const PromptRowRanges& prompts);
PromptRowRanges prompt_ranges(const Batch& batch);

/// The prompts that subjects also run on the reference's inputs: whole ones, spread over the batch,
/// of about `budget` tokens; none for 0.
std::vector<std::size_t> forced_prompts(const Batch& batch, std::int64_t budget);

struct NonFiniteHidden {
  Stack stack = Stack::kLanguage;
  std::int64_t layer = 0;
  Part part = Part::kAttention;
  std::int64_t row = 0;    // of the prompt: first row (vision: patch or image token) that has one
  std::int64_t rows = 0;   // how many rows of all prompts have one
  std::size_t prompt = 0;  // index into the batch's prompts
};

struct LockstepResult {
  std::vector<std::vector<HalfDrift>> drift;  // [subject]: the tower's parts, then 2 * L halves
  std::vector<std::vector<HalfRows>> rows;    // beside `drift`: if asked for
  std::vector<std::optional<NonFiniteHidden>> non_finite;  // [lane]: where the first appeared
  std::vector<std::uint64_t> fingerprints;                 // [lane]: if asked for
  std::int64_t forced_rows = 0;
  std::vector<std::string> notes;  // what became of it where memory was short
};

/// Where a device has too little memory for chunk_tokens, half as many are tried, and so on. Throws
/// Error "lanes.shape" when lanes cannot run side by side
/// (other sizes than the reference's).
LockstepResult run_lockstep(ThreadPool& pool, std::span<const Lane> lanes, const Batch& batch,
                            const LockstepOptions& options, Observer& observer);

}  // namespace mg
