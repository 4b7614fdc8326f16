#include "tests/lanes/synthetic_source.h"

#include <cmath>
#include <utility>

#include "kernels/core/half.h"

namespace mg::test {
namespace {

ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 61;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 128;
  config.attention_scale = 1.0 / std::sqrt(8.0);
  config.ropes.resize(1);
  config.layers.resize(3);
  return config;
}

}  // namespace

std::vector<Family> families() {
  std::vector<Family> all;
  all.push_back({"llama", small_config()});

  ModelConfig qwen = small_config();
  qwen.attention_bias = true;
  qwen.qk_norm = true;
  qwen.layers[1].sliding_window = 5;
  all.push_back({"qwen", qwen});

  ModelConfig phi = small_config();
  phi.packed_qkv = true;
  phi.packed_gate_up = true;
  phi.ropes[0].partial_rotary_factor = 0.5;
  all.push_back({"phi", phi});

  ModelConfig gemma = small_config();
  gemma.norm = NormKind::kRmsPlusOne;
  gemma.post_norms = true;
  gemma.activation = Activation::kGeluTanh;
  gemma.embedding_scale = std::sqrt(32.0);
  gemma.attention_softcap = 20.0;
  gemma.final_softcap = 15.0;
  gemma.ropes.resize(2);
  gemma.ropes[1].theta = 1e6;
  gemma.layers[0].sliding_window = 4;
  gemma.layers[2].rope = 1;
  all.push_back({"gemma", gemma});

  ModelConfig gpt2 = small_config();
  gpt2.norm = NormKind::kLayerNorm;
  gpt2.num_key_value_heads = 4;
  gpt2.conv1d = true;
  gpt2.packed_qkv = true;
  gpt2.gated_mlp = false;
  gpt2.attention_bias = true;
  gpt2.output_bias = true;
  gpt2.mlp_bias = true;
  gpt2.learned_positions = true;
  gpt2.activation = Activation::kGeluTanh;
  gpt2.ropes.clear();
  all.push_back({"gpt2", gpt2});

  ModelConfig moe = small_config();
  moe.qk_norm = true;
  moe.num_experts = 5;
  moe.num_experts_per_tok = 2;
  moe.moe_intermediate_size = 24;
  moe.norm_topk_prob = true;
  for (LayerConfig& layer : moe.layers) {
    layer.moe = true;
  }
  moe.layers[1].moe = false;
  all.push_back({"moe", moe});
  return all;
}

SyntheticSource::SyntheticSource(ModelConfig config, std::uint32_t seed)
    : config_(std::move(config)), random_(seed) {
  const std::int64_t width = config_.hidden_size;
  globals_.embed_tokens = random({config_.vocab_size, width}, 0.5F);
  if (config_.learned_positions) {
    globals_.embed_positions = random({config_.max_position_embeddings, width}, 0.2F);
  }
  globals_.final_norm = norm(width);
  globals_.lm_head = linear(config_.vocab_size, width, false);
  layers_.resize(static_cast<std::size_t>(config_.num_hidden_layers));
  for (std::int64_t l = 0; l < config_.num_hidden_layers; ++l) {
    fill_layer(l);
  }
}

TensorView SyntheticSource::random(Shape shape, float deviation, float mean) {
  std::normal_distribution<float> normal(mean, deviation);
  std::int64_t count = 1;
  for (const std::int64_t dim : shape) {
    count *= dim;
  }
  storage_.push_back(std::make_unique<std::vector<std::uint16_t>>());
  for (std::int64_t i = 0; i < count; ++i) {
    storage_.back()->push_back(float_to_half(normal(random_)));
  }
  return {.dtype = DType::kF16,
          .shape = std::move(shape),
          .data = reinterpret_cast<const std::byte*>(storage_.back()->data()),
          .bytes = storage_.back()->size() * sizeof(std::uint16_t)};
}

Linear SyntheticSource::linear(std::int64_t outputs, std::int64_t inputs, bool bias) {
  const float deviation = 1.0F / std::sqrt(static_cast<float>(inputs));
  const bool transposed = config_.conv1d && outputs != config_.vocab_size;
  Linear result;
  result.weight.values =
      random(transposed ? Shape{inputs, outputs} : Shape{outputs, inputs}, deviation);
  result.weight.transposed = transposed;
  if (bias) {
    result.bias = random({outputs}, 0.1F);
  }
  return result;
}

Norm SyntheticSource::norm(std::int64_t width) {
  const float mean = config_.norm == NormKind::kRmsPlusOne ? 0.0F : 1.0F;
  Norm result{.weight = random({width}, 0.1F, mean), .bias = {}};
  if (config_.norm == NormKind::kLayerNorm) {
    result.bias = random({width}, 0.1F);
  }
  return result;
}

void SyntheticSource::fill_layer(std::int64_t index) {
  LayerWeights& layer = mutable_layer(index);
  const std::int64_t width = config_.hidden_size;
  const std::int64_t q = config_.num_attention_heads * config_.head_dim;
  const std::int64_t kv = config_.num_key_value_heads * config_.head_dim;
  const bool bias = config_.attention_bias;
  layer.input_norm = norm(width);
  layer.mlp_norm = norm(width);
  if (config_.packed_qkv) {
    layer.qkv = linear(q + 2 * kv, width, bias);
  } else {
    layer.q = linear(q, width, bias);
    layer.k = linear(kv, width, bias);
    layer.v = linear(kv, width, bias);
  }
  if (config_.qk_norm) {
    layer.q_norm = norm(config_.head_dim);
    layer.k_norm = norm(config_.head_dim);
  }
  layer.o = linear(width, q, config_.output_bias);
  if (config_.post_norms) {
    layer.post_attention_norm = norm(width);
    layer.post_mlp_norm = norm(width);
  }
  if (config_.layers[static_cast<std::size_t>(index)].moe) {
    const std::int64_t inner = config_.moe_intermediate_size;
    layer.router = linear(config_.num_experts, width, false);
    for (std::int64_t e = 0; e < config_.num_experts; ++e) {
      layer.experts.push_back(
          {linear(inner, width, false), linear(inner, width, false), linear(width, inner, false)});
    }
    return;
  }
  const std::int64_t inner = config_.intermediate_size;
  if (config_.packed_gate_up) {
    layer.gate_up = linear(2 * inner, width, false);
  } else if (config_.gated_mlp) {
    layer.gate = linear(inner, width, false);
    layer.up = linear(inner, width, config_.mlp_bias);
  } else {
    layer.up = linear(inner, width, config_.mlp_bias);
  }
  layer.down = linear(width, inner, config_.mlp_bias);
}

void SyntheticSource::adapt(Linear& linear, float b_scale, bool dora) {
  if (linear.empty()) {
    return;
  }
  constexpr std::int64_t kRank = 4;
  linear.delta.a = random({kRank, linear.weight.inputs()}, 0.3F);
  linear.delta.b = random({linear.weight.outputs(), kRank}, b_scale);
  linear.delta.scale = 2.0;
  if (dora) {
    std::uniform_real_distribution<float> factor(0.8F, 1.2F);
    for (std::int64_t i = 0; i < linear.weight.outputs(); ++i) {
      linear.delta.dora.push_back(factor(random_));
    }
  }
}

void SyntheticSource::add_adapter(std::uint32_t seed, float b_scale, bool dora) {
  random_.seed(seed);
  for (LayerWeights& layer : layers_) {
    for (Linear* each : {&layer.q, &layer.k, &layer.v, &layer.qkv, &layer.o, &layer.gate, &layer.up,
                         &layer.gate_up, &layer.down}) {
      adapt(*each, b_scale, dora);
    }
    for (ExpertWeights& expert : layer.experts) {
      adapt(expert.gate, b_scale, dora);
      adapt(expert.down, b_scale, dora);
    }
  }
  adapt(globals_.lm_head, b_scale, false);
  globals_.embed_delta.a = random({2, config_.vocab_size}, 0.3F);
  globals_.embed_delta.b = random({config_.hidden_size, 2}, b_scale);
  globals_.embed_delta.scale = 1.5;
}

}  // namespace mg::test
