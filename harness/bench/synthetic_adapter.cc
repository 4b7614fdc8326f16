#include "harness/bench/synthetic_adapter.h"

#include <utility>

namespace mg {

SyntheticAdapter::SyntheticAdapter(WeightSource& base, std::int64_t rank, std::uint64_t seed)
    : base_(base), random_(seed) {
  for (std::int64_t l = 0; l < base.config().num_hidden_layers; ++l) {
    LayerWeights layer = base.layer_in_codes(l);  // the views alone
    for (Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.qkv, &layer.o, &layer.gate,
                           &layer.up, &layer.gate_up, &layer.down}) {
      adapt(*linear, rank);
    }
    layers_.push_back(std::move(layer));
  }
}

void SyntheticAdapter::adapt(Linear& linear, std::int64_t rank) {
  if (linear.empty()) {
    return;
  }
  linear.delta = {};
  linear.delta.a = random_halves({rank, linear.weight.inputs()});
  linear.delta.b = random_halves({linear.weight.outputs(), rank});
  linear.delta.scale = 1.0;
}

TensorView SyntheticAdapter::random_halves(Shape shape) {
  std::int64_t count = 1;
  for (const std::int64_t dim : shape) {
    count *= dim;
  }
  storage_.push_back(std::make_unique<std::vector<std::uint16_t>>());
  std::vector<std::uint16_t>& values = *storage_.back();
  values.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    // FP16 of either sign with exponent 2^-10: small, so that the model's hidden states stay tame.
    constexpr std::uint64_t kExponent = 5U << 10U;
    const std::uint64_t bits = random_.next();
    values.push_back(static_cast<std::uint16_t>((bits & 0x83FFU) | kExponent));
  }
  return {.dtype = DType::kF16,
          .shape = std::move(shape),
          .data = reinterpret_cast<const std::byte*>(values.data()),
          .bytes = values.size() * sizeof(std::uint16_t)};
}

}  // namespace mg
