// Weights of a checkpoint as mapped, with or without an adapter beside them.
// LoRA stays unmerged (DESIGN.md section 1): the reference lane is a CheckpointSource with an
// adapter.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "harness/io/adapter.h"
#include "harness/io/checkpoint.h"
#include "harness/lanes/weight_source.h"
#include "harness/model/attach.h"
#include "harness/model/resolve.h"

namespace mg {

class CheckpointSource final : public WeightSource {
 public:
  /// `model` resolves `checkpoint`; `adapter`, if any, is attached to it.  All must outlive the
  /// source, `pool` too: it dequantises weights stored as codes, a layer at a time (without it the
  /// calling thread does). Throws Error "checkpoint.tensors" when a tensor is missing or misshapen,
  /// "adapter.attach" when a part of the adapter reaches no tensor or does not fit,
  /// "adapter.unsupported" for what has no forward pass.
  CheckpointSource(const Checkpoint& checkpoint, const ResolvedModel& model,
                   const AttachedAdapter* adapter = nullptr, ThreadPool* pool = nullptr);
  ~CheckpointSource() override;

  const ModelConfig& config() const override { return model_->config; }
  const GlobalWeights& globals() override { return globals_; }
  const LayerWeights& layer(std::int64_t index) override;
  void prefetch_layer(std::int64_t index) override;
  void release_layer(std::int64_t index) override;
  const LayerWeights* ahead(std::int64_t index) const override;
  const LayerWeights& layer_in_codes(std::int64_t index) override;
  const LayerWeights* ahead_in_codes(std::int64_t index) const override;
  WeightCodes codes_of(const TensorView& matrix) const override;
  bool is_decoded_copy(const TensorView& view) const override;
  void check_intact() const override { checkpoint_->check_intact(); }

 private:
  struct Builder;
  struct PendingDora;
  /// Norms of the layer's DoRA weights (-1: the globals'), on first use: each reads its base weight
  /// once.
  void compute_dora(std::int64_t layer);
  bool needs_dora(std::int64_t layer) const;
  /// Remembers which matrices of layers a backend may take as codes.
  void find_codes();
  /// The layer's weights stored as codes that a backend must be given as values.
  std::vector<const StoredTensor*> values_beside_codes(std::int64_t layer) const;
  /// Takes the FP32 copies of the layer's quantised weights.
  void hold(const std::vector<const StoredTensor*>& tensors, std::vector<DecodedHold>& holds) const;

  const Checkpoint* checkpoint_;
  const ResolvedModel* model_;
  GlobalWeights globals_;
  std::vector<LayerWeights> layers_;
  std::vector<std::vector<const StoredTensor*>>
      stored_;  // by layer: what to read ahead and release
  ThreadPool* pool_;
  std::vector<std::vector<DecodedHold>> holds_;            // by layer, while it is in use
  std::vector<std::vector<DecodedHold>> in_codes_holds_;   // the same of layer_in_codes()
  std::map<const std::byte*, const StoredTensor*> coded_;  // by the address of its values
  std::map<const std::byte*, std::size_t> copies_;         // FP32 copies: address, bytes
  std::vector<DecodedHold> global_holds_;
  std::vector<PendingDora> pending_;
  std::vector<std::unique_ptr<std::vector<float>>>
      computed_;  // experts' pairs, copied out of fused ones
};

}  // namespace mg
