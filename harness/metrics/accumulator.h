// Collects the metrics of all rows of a run from chunks of logits, for any number of pairs of lanes
// at once. A lane's own sweep is done once however many pairs it is in.  Rows may come in chunks of
// any size and order; each is computed alone, so results do not depend on chunking or threads.  Not
// for: summing up (summary.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "harness/metrics/row_kernel.h"
#include "kernels/core/parallel.h"

namespace mg {

/// One prompt of the packed rows.
struct PromptRows {
  std::string id;
  std::int64_t rows = 0;  // T
  /// [T]: the token that follows each row and counts for the likelihood, or -1; empty: none counts.
  std::vector<std::int32_t> next_tokens;
};

/// next_tokens of a prompt whose tokens from `scored_begin` on count: row t predicts token t + 1.
std::vector<std::int32_t> next_tokens_of(std::span<const std::int32_t> input_ids,
                                         std::int64_t scored_begin = 1);

/// Where each prompt's rows lie when all prompts are packed one after the other.
class RowLayout {
 public:
  /// Throws an internal Error where next_tokens has neither no entry nor one per row.
  explicit RowLayout(std::vector<PromptRows> prompts);

  std::int64_t rows() const { return first_row_.back(); }
  std::int64_t scored_rows() const;
  const std::vector<PromptRows>& prompts() const { return prompts_; }
  std::int64_t first_row(std::int64_t prompt) const;
  std::int64_t prompt_of(std::int64_t row) const;
  std::int64_t position_of(std::int64_t row) const;
  std::int64_t next_token(std::int64_t row) const;

 private:
  std::vector<PromptRows> prompts_;
  std::vector<std::int64_t> first_row_;      // [prompts + 1]
  std::vector<std::int32_t> prompt_of_row_;  // [rows]
};

/// Indices into the accumulator's lanes.
using PairSpec = LanePair;

/// Rows of one lane: row i starts at logits + i * stride.
struct LogitRows {
  const float* logits = nullptr;
  std::int64_t stride = 0;  // at least V; larger where the lane's vocabulary is padded
};

class MetricAccumulator {
 public:
  /// `V`: vocabulary entries compared (those all lanes have).
  MetricAccumulator(RowLayout layout, std::int64_t V, std::vector<std::string> lanes,
                    std::vector<PairSpec> pairs);

  /// Packed rows [first_row, first_row + rows) of every lane.  Every row of the layout is added
  /// exactly once.
  void add_rows(std::int64_t first_row, std::int64_t rows, std::span<const LogitRows> lanes,
                ThreadPool& pool);

  /// The same from sweeps made elsewhere (kernels/row_statistics.h) over V entries: lanes
  /// [lane * rows + row], pairs [pair * rows + row].
  void add_sweeps(std::int64_t first_row, std::int64_t rows, std::span<const LaneSweep> lanes,
                  std::span<const PairSweep> pairs);

  /// True once every row was added.
  bool complete() const { return added_ == layout_.rows(); }

  const RowLayout& layout() const { return layout_; }
  std::int64_t vocabulary() const { return vocabulary_; }
  const std::vector<std::string>& lanes() const { return lanes_; }
  const std::vector<PairSpec>& pairs() const { return pairs_; }
  const LaneRow& lane_row(int lane, std::int64_t row) const;
  /// [rows] of one pair; only meaningful once complete().
  std::span<const PairRow> pair_rows(int pair) const;

 private:
  void claim_rows(std::int64_t first_row, std::int64_t rows);
  void add_row(std::int64_t row, std::int64_t offset, std::span<const LogitRows> lanes);

  RowLayout layout_;
  std::int64_t vocabulary_;
  std::vector<std::string> lanes_;
  std::vector<PairSpec> pairs_;
  RowPath path_;
  std::vector<std::vector<LaneRow>> lane_rows_;  // [lanes][rows]
  std::vector<std::vector<PairRow>> pair_rows_;  // [pairs][rows]
  std::vector<std::uint8_t> seen_;               // [rows]
  std::int64_t added_ = 0;
};

}  // namespace mg
