// The re-merge lane: base + D computed here in double and rounded once to a stored dtype, one layer
// at a time. Against the reference lane it shows what rounding alone costs; against merged, the
// merge tool's own error.
#pragma once

#include <memory>
#include <vector>

#include "harness/lanes/checkpoint_source.h"
#include "harness/model/delta.h"
#include "kernels/core/parallel.h"

namespace mg {

class RemergeSource final : public WeightSource {
 public:
  /// Every tensor is stored as `dtype`; without one, as the base stores it.  All arguments must
  /// outlive the source.
  RemergeSource(const Checkpoint& base, const ResolvedModel& model, const AttachedAdapter& adapter,
                std::optional<DType> dtype, ThreadPool& pool);

  const ModelConfig& config() const override { return plain_.config(); }
  const GlobalWeights& globals() override { return globals_; }
  const LayerWeights& layer(std::int64_t index) override;
  void prefetch_layer(std::int64_t index) override { plain_.prefetch_layer(index); }
  void release_layer(std::int64_t index) override;
  void check_intact() const override { plain_.check_intact(); }

 private:
  using Storage = std::vector<std::vector<std::byte>>;
  void rewrite(TensorView& view, Storage& storage) const;

  AttachedAdapter without_deltas_;  // replacements only: what plain_ is built with
  CheckpointSource plain_;
  const AttachedAdapter* adapter_;
  std::optional<DType> dtype_;
  ThreadPool* pool_;
  GlobalWeights globals_;
  Storage global_storage_;
  LayerWeights layer_;  // the layer in use
  Storage storage_;     // its computed tensors
};

}  // namespace mg
