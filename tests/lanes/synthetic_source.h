// Small random models in memory, one for each shape a forward pass can take, so that its properties
// are tested without files.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "harness/lanes/weight_source.h"

namespace mg::test {

/// What makes families differ, as test parameters.
struct Family {
  std::string name;
  ModelConfig config;
};

/// Llama-, Qwen3-, Phi-3-, Gemma-, GPT-2- and Qwen3-MoE-like, sliding windows and soft-caps
/// included.
std::vector<Family> families();

/// Random FP16 weights for a config, seeded.  `adapted`: a low-rank pair on every matrix and the
/// embedding.
class SyntheticSource final : public WeightSource {
 public:
  SyntheticSource(ModelConfig config, std::uint32_t seed);

  /// Adds pairs with B drawn from N(0, b_scale); 0 gives an adapter that does nothing.
  void add_adapter(std::uint32_t seed, float b_scale, bool dora = false);

  const ModelConfig& config() const override { return config_; }
  const GlobalWeights& globals() override { return globals_; }
  const LayerWeights& layer(std::int64_t index) override {
    return layers_[static_cast<std::size_t>(index)];
  }
  void prefetch_layer(std::int64_t index) override { static_cast<void>(index); }
  void release_layer(std::int64_t index) override { static_cast<void>(index); }
  void check_intact() const override {}

  /// The layer, for a test that plants damage.
  LayerWeights& mutable_layer(std::int64_t index) {
    return layers_[static_cast<std::size_t>(index)];
  }
  TensorView random(Shape shape, float deviation, float mean = 0.0F);

 private:
  void fill_layer(std::int64_t index);
  Linear linear(std::int64_t outputs, std::int64_t inputs, bool bias);
  Norm norm(std::int64_t width);
  void adapt(Linear& linear, float b_scale, bool dora);

  ModelConfig config_;
  std::mt19937 random_;
  std::vector<std::unique_ptr<std::vector<std::uint16_t>>> storage_;
  GlobalWeights globals_;
  std::vector<LayerWeights> layers_;
};

}  // namespace mg::test
