// Several lanes through one stack of layers, the text's or a vision tower's: hidden states, the
// passes over them, and the drift that is measured between.  Not for: what stands before the first
// layer and after the last (lockstep.cc, tower.cc).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "harness/lanes/announced.h"
#include "harness/lanes/lockstep.h"
#include "harness/lanes/rope_tables.h"

namespace mg {

/// Consecutive lanes on one backend: what they share.
struct LaneGroup {
  Backend* backend = nullptr;
  std::size_t first = 0;  // lanes [first, first + count)
  std::size_t count = 0;
  std::unique_ptr<RopeTables> ropes;
  std::unique_ptr<RopeTables> forced_ropes;
  std::unique_ptr<Workspace> work;
};

/// What a stack is made of.  All must outlive it.
struct StackPlan {
  Stack stack = Stack::kLanguage;
  std::vector<const ModelConfig*> configs;  // [lane]
  std::int64_t first_layer = 0;             // of WeightSource::layer()
  const Batch* batch = nullptr;             // prompts, or a tower's frames
  // Per prompt of the run: its rows in `batch`, {first, count}.
  PromptRowRanges prompt_rows;
};

/// The hidden states after one part of a stack, to be measured.
struct MeasuredPart {
  Stack stack = Stack::kLanguage;
  std::int64_t layer = 0;
  Part part = Part::kAttention;
  // Of a lane; of a subject's forced rows (null: nothing was forced).
  std::function<PlacedRows(std::size_t lane)> placed;
  std::function<PlacedRows(std::size_t subject)> forced;
  std::vector<std::int32_t> forced_rows;  // the reference's rows that are forced
  PromptRowRanges prompt_rows;            // as StackPlan's
};

/// Adds the part's drift, and rows that are not finite, to the result.
void measure_part(HiddenStates& states, const LockstepOptions& options,
                  const MeasuredPart& measured, LockstepResult& result);

class LayerStack {
 public:
  /// Takes all the memory that depends on chunk_tokens.  `result` gets drift and non-finite rows.
  LayerStack(ThreadPool& pool, std::span<const Lane> lanes, const LockstepOptions& options,
             StackPlan plan, LockstepResult& result);

  /// hidden states through all layers; progress(share of them).
  void run(const std::function<void(double)>& progress);

  const ModelConfig& config() const { return *plan_.configs[options_.reference]; }
  const std::vector<PlacedChunk>& chunks() const { return chunks_; }
  std::vector<LaneGroup>& groups() { return groups_; }
  const LaneGroup& group_of(std::size_t lane) const;
  std::int64_t rows() const { return plan_.batch->tokens(); }
  std::int64_t mlp_rows() const { return mlp_rows_; }
  Mat hidden(std::size_t lane) const { return whole(*hidden_[lane], rows(), width_); }
  PlacedRows placed(std::size_t lane) const { return {lanes_[lane].backend, hidden(lane)}; }
  HiddenStates& states() { return states_; }

  /// Hidden states as they stand, as what came before the first layer.
  void measure_embedding();

  /// Every subject's forced rows start from its reference's hidden states, bit for bit where both
  /// are on one backend.
  void copy_reference_to_forced();
  bool has_forced() const { return !forced_.batch.prompts.empty(); }
  std::int64_t forced_rows() const { return forced_.batch.tokens(); }
  Mat forced(std::size_t subject) const {
    return whole(*forced_hidden_[subject], forced_.batch.tokens(), width_);
  }
  /// The places of the forced rows among all; every `per` rows of the stack are one.
  std::vector<std::int32_t> forced_places(std::int64_t per = 1) const;

 private:
  /// Some prompts, spread over the batch, that subjects also run on the reference's own inputs.
  struct ForcedSample {
    Batch batch;
    std::vector<std::int64_t>
        source_row;  // per prompt of `batch`: its first row in the whole batch
  };
  static ForcedSample sample_of(const StackPlan& plan, const LockstepOptions& options);

  void make_groups();
  std::int64_t longest_chunk() const;
  void layer(std::int64_t l);
  LaneBlock block(std::size_t lane, std::int64_t l, const LayerWeights& weights, Mat rows) const;
  void attention(std::int64_t l, const std::vector<const LayerWeights*>& weights,
                 const PlacedChunk& placed);
  void forced_attention(std::int64_t l, const std::vector<const LayerWeights*>& weights);
  void mlp(std::int64_t l, const std::vector<const LayerWeights*>& weights, std::int64_t begin,
           std::int64_t count);
  void forced_mlp(std::int64_t l, const std::vector<const LayerWeights*>& weights);
  void measure(std::int64_t l, Part part);
  bool in_parts(std::int64_t l) const {
    return config().layers[static_cast<std::size_t>(l)].in_parts;
  }

  std::span<const Lane> lanes_;
  const LockstepOptions& options_;
  StackPlan plan_;
  LockstepResult& result_;
  std::int64_t width_;     // H
  std::int64_t mlp_rows_;  // rows of a lane in the MLP at once
  ForcedSample forced_;
  std::vector<PlacedChunk> chunks_;
  std::vector<PlacedChunk> part_chunks_;  // the same rows, attending within their parts
  std::vector<PlacedChunk> forced_chunks_;
  std::vector<PlacedChunk> forced_part_chunks_;
  std::vector<LaneGroup> groups_;
  std::vector<std::unique_ptr<Buffer>> hidden_;         // [lane]: [T, H]
  std::vector<std::unique_ptr<Buffer>> forced_hidden_;  // [subject]: [forced rows, H]
  std::vector<Announced> ahead_;                        // [lane]: the next layer, where it is known
  std::vector<float> staging_;
  HiddenStates states_;
};

}  // namespace mg
