// The weights of a checkpoint with some tensors altered as they are read, a layer at a time.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "harness/io/altered_tensors.h"
#include "harness/lanes/checkpoint_source.h"
#include "kernels/core/parallel.h"

namespace mg {

class AlteredSource final : public WeightSource {
 public:
  /// All arguments must outlive the source.  Throws as CheckpointSource does.
  AlteredSource(const Checkpoint& checkpoint, const ResolvedModel& model,
                const AlteredTensors& alteration, ThreadPool& pool);

  const ModelConfig& config() const override { return plain_.config(); }
  const GlobalWeights& globals() override { return globals_; }
  const LayerWeights& layer(std::int64_t index) override;
  void prefetch_layer(std::int64_t index) override { plain_.prefetch_layer(index); }
  void release_layer(std::int64_t index) override;
  void check_intact() const override { plain_.check_intact(); }

 private:
  using Storage = std::map<const StoredTensor*, std::vector<std::byte>>;
  const StoredTensor* altered_at(const TensorView& view) const;
  template <typename Weights>
  void alter(Weights& weights, Storage& storage) const;

  CheckpointSource plain_;
  const AlteredTensors* alteration_;
  ThreadPool* pool_;
  std::map<const std::byte*, const StoredTensor*> altered_;  // by the first byte
  GlobalWeights globals_;
  Storage global_storage_;
  LayerWeights layer_;  // the layer in use
  Storage storage_;     // its altered tensors
};

}  // namespace mg
