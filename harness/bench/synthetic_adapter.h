// A base with a random low-rank pair of a given rank on every matrix: what an adapter of that rank
// costs does not depend on what it says.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "harness/lanes/weight_source.h"
#include "harness/metrics/random.h"

namespace mg {

class SyntheticAdapter final : public WeightSource {
 public:
  /// `base` outlives the source and keeps its layers where they are (CheckpointSource does); it
  /// reads and releases their bytes.
  SyntheticAdapter(WeightSource& base, std::int64_t rank, std::uint64_t seed);

  const ModelConfig& config() const override { return base_.config(); }
  const GlobalWeights& globals() override { return base_.globals(); }
  const LayerWeights& layer(std::int64_t index) override {
    base_.layer(index);  // what is stored as codes has its bytes from here on
    return layers_[static_cast<std::size_t>(index)];
  }
  void prefetch_layer(std::int64_t index) override { base_.prefetch_layer(index); }
  void release_layer(std::int64_t index) override { base_.release_layer(index); }
  const LayerWeights* ahead(std::int64_t index) const override {
    return base_.ahead(index) == nullptr ? nullptr : &layers_[static_cast<std::size_t>(index)];
  }
  const LayerWeights& layer_in_codes(std::int64_t index) override {
    base_.layer_in_codes(index);
    return layers_[static_cast<std::size_t>(index)];
  }
  const LayerWeights* ahead_in_codes(std::int64_t index) const override {
    return base_.ahead_in_codes(index) == nullptr ? nullptr
                                                  : &layers_[static_cast<std::size_t>(index)];
  }
  WeightCodes codes_of(const TensorView& matrix) const override { return base_.codes_of(matrix); }
  bool is_decoded_copy(const TensorView& view) const override {
    return base_.is_decoded_copy(view);
  }
  void check_intact() const override { base_.check_intact(); }

 private:
  void adapt(Linear& linear, std::int64_t rank);
  TensorView random_halves(Shape shape);

  WeightSource& base_;
  SplitMix64 random_;
  std::vector<std::unique_ptr<std::vector<std::uint16_t>>> storage_;
  std::vector<LayerWeights> layers_;
};

}  // namespace mg
