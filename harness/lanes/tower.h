// The images of a batch through the vision tower of every lane, before the text's layers: patches,
// blocks, merger.  Measures the tower's drift as the text's is.  Not for: what a block computes
// (harness/model/forward.h) or where an image's tokens stand in a prompt (harness/model/vision.h).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "harness/lanes/layer_stack.h"

namespace mg {

/// What the tower makes of a batch's pictures.
struct TowerTokens {
  struct PictureRows {
    std::int64_t row = 0;                  // first row in the batch
    std::vector<std::int32_t> tower_rows;  // the tower's row for each row from there on
  };
  std::vector<Backend*> backends;               // [lane]
  std::vector<std::unique_ptr<Buffer>> values;  // [lane]
  std::vector<Mat> tokens;                      // [lane]: [tower's tokens, H]
  std::vector<PictureRows> pictures;

  /// Writes them over the rows of their placeholders.
  void put(const Batch& batch, const std::function<Mat(std::size_t lane)>& hidden) const;
};

/// Roughly, by multiplications: the tower's part of a run.
double tower_share_of(const ModelConfig& config, const Batch& batch);

class Tower {
 public:
  /// Takes all the memory that depends on chunk_tokens.  Throws Error "lanes.shape" where lanes
  /// have different towers, "lanes.no-vision" where one has none.
  Tower(ThreadPool& pool, std::span<const Lane> lanes, const Batch& batch,
        const LockstepOptions& options, LockstepResult& result);

  TowerTokens run(const std::function<void(double)>& progress);

 private:
  /// The frames of all pictures as prompts of the tower, in the batch's order.
  void lay_out();
  void embed_frames();
  void merge(TowerTokens& out);
  void measure_merger(const TowerTokens& out);

  std::span<const Lane> lanes_;
  const Batch& batch_;
  const LockstepOptions& options_;
  LockstepResult& result_;
  const VisionConfig& vision_;
  std::int64_t merged_;               // patches of a token
  std::vector<ModelConfig> configs_;  // [lane]
  Batch frames_;
  PromptRowRanges prompt_rows_;
  std::vector<TowerTokens::PictureRows> pictures_;
  std::vector<std::pair<std::size_t, std::int64_t>> patch_of_row_;  // picture, its patch
  std::unique_ptr<LayerStack> stack_;
};

}  // namespace mg
