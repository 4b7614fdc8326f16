#include "harness/bench/cost.h"

#include <algorithm>

namespace mg {
namespace {

/// Elements that a token multiplies with, and bytes that a call reads.
struct Size {
  double elements = 0;
  double bytes = 0;
};

void add_matrix(const TensorView& view, double share, Size& size) {
  if (!view.empty()) {
    size.elements += share * static_cast<double>(view.elements());
    size.bytes += static_cast<double>(view.bytes);
  }
}

void add_linear(const Linear& linear, double token_share, double read_share, Size& size) {
  Size all;
  for (const TensorView* view : {&linear.weight.values, &linear.delta.a, &linear.delta.b}) {
    add_matrix(*view, 1.0, all);
  }
  size.elements += token_share * all.elements;
  size.bytes += read_share * all.bytes;
}

/// One layer for `tokens` tokens.  Of E experts a token uses k, and a call reads no more than
/// tokens * k of them.
Size layer_size(const LayerWeights& layer, const ModelConfig& config, std::int64_t tokens) {
  Size size;
  for (const Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.qkv, &layer.o, &layer.gate,
                               &layer.up, &layer.gate_up, &layer.down, &layer.router}) {
    add_linear(*linear, 1.0, 1.0, size);
  }
  const auto experts = static_cast<double>(layer.experts.size());
  const auto chosen = static_cast<double>(config.num_experts_per_tok);
  for (const ExpertWeights& expert : layer.experts) {
    const double read = std::min(1.0, static_cast<double>(tokens) * chosen / experts);
    for (const Linear* linear : {&expert.gate, &expert.up, &expert.down}) {
      add_linear(*linear, chosen / experts, read, size);
    }
  }
  return size;
}

WorkCost cost_of(WeightSource& source, std::int64_t tokens, std::int64_t logit_rows,
                 double keys_per_token, double cached_keys) {
  const ModelConfig& config = source.config();
  WorkCost cost;
  const auto heads = static_cast<double>(config.num_attention_heads * config.head_dim);
  const auto kv = static_cast<double>(config.num_key_value_heads * config.head_dim);
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    const Size size = layer_size(source.layer_in_codes(l), config, tokens);
    const auto window =
        static_cast<double>(config.layers[static_cast<std::size_t>(l)].sliding_window);
    const double seen = window > 0 ? std::min(window, keys_per_token) : keys_per_token;
    const double shrink = keys_per_token > 0 ? seen / keys_per_token : 1.0;
    // Scores and values: two products of D for every key that a token sees.
    cost.flops += static_cast<double>(tokens) * (2 * size.elements + 4 * heads * seen);
    cost.bytes += size.bytes + 2 * kv * sizeof(float) * cached_keys * shrink;
  }
  Size head;
  add_linear(source.globals().lm_head, 1.0, 1.0, head);
  cost.flops += static_cast<double>(logit_rows) * 2 * head.elements;
  cost.bytes += head.bytes;
  return cost;
}

}  // namespace

WeightBytes weight_bytes(WeightSource& source) {
  WeightBytes bytes;
  const auto add = [&](const TensorView& view) {
    bytes.all += view.bytes;
    bytes.decoded += !view.empty() && source.is_decoded_copy(view) ? view.bytes : 0;
  };
  const auto add_low_rank = [&](const LowRank& delta) {
    bytes.all += delta.a.bytes + delta.b.bytes;
    bytes.low_rank += delta.a.bytes + delta.b.bytes;
  };
  GlobalWeights globals = source.globals();
  if (globals.lm_head.weight.values.data == globals.embed_tokens.data) {
    globals.embed_tokens = {};  // tied: one table
  }
  for_each_stored(globals, add);
  add_low_rank(globals.embed_delta);
  add_low_rank(globals.lm_head.delta);
  for (std::int64_t l = 0; l < source.config().num_hidden_layers; ++l) {
    LayerWeights layer = source.layer_in_codes(l);
    for_each_stored(layer, add);
    for_each_linear(layer, [&](const Linear& linear) { add_low_rank(linear.delta); });
  }
  return bytes;
}

WorkCost prefill_cost(WeightSource& source, std::int64_t length, std::int64_t batch) {
  // Token t sees t + 1 keys: (length + 1) / 2 on average; those keys are fresh, not read back.
  return cost_of(source, length * batch, batch, static_cast<double>(length + 1) / 2, 0);
}

WorkCost decode_cost(WeightSource& source, std::int64_t context, std::int64_t batch) {
  const auto keys = static_cast<double>(context + 1);
  return cost_of(source, batch, batch, keys, keys * static_cast<double>(batch));
}

}  // namespace mg
