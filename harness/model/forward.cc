#include "harness/model/forward.h"

#include <algorithm>

#include "harness/model/lane_ops.h"
#include "harness/model/moe.h"

namespace mg {
namespace {

constexpr double weight_offset(NormKind kind) {
  return kind == NormKind::kRmsPlusOne ? 1.0 : 0.0;
}

/// Normalises each head of x, [T, heads * D], in place.
void normalise_heads(Backend& backend, const ModelConfig& config, const Norm& norm,
                     std::int64_t heads, Mat x) {
  if (!norm.empty()) {
    backend.rms_norm(x, norm.weight, config.norm_eps, weight_offset(config.norm), heads, x);
  }
}

/// Rows of lane i in a matrix that stacks the lanes.
Mat rows_of(Mat stacked, std::size_t lane, std::int64_t tokens) {
  return stacked.row_range(static_cast<std::int64_t>(lane) * tokens, tokens);
}

/// Norms every lane's hidden states into the stacked matrix.
void normalise_lanes(Backend& backend, std::span<const LaneBlock> lanes, Norm LayerWeights::*member,
                     Mat stacked) {
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const LaneBlock& lane = lanes[i];
    normalise(backend, *lane.config, lane.weights->*member, lane.hidden,
              rows_of(stacked, i, lane.hidden.rows));
  }
}

/// stacked = norm(stacked) for every lane where the architecture has a norm there (Gemma).
void normalise_updates(Backend& backend, std::span<const LaneBlock> lanes,
                       Norm LayerWeights::*post_norm, Mat stacked) {
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const LaneBlock& lane = lanes[i];
    if (lane.config->post_norms) {
      const Mat update = rows_of(stacked, i, lane.hidden.rows);
      normalise(backend, *lane.config, lane.weights->*post_norm, update, update);
    }
  }
}

/// hidden += update for every lane.
void add_residual(Backend& backend, std::span<const LaneBlock> lanes, Mat stacked) {
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    backend.add(rows_of(stacked, i, lanes[i].hidden.rows), lanes[i].hidden);
  }
}

/// add_residual(), then normalise_lanes(), in one pass over the hidden states where a backend can.
void add_and_normalise(Backend& backend, std::span<const LaneBlock> lanes, Mat stacked,
                       Norm LayerWeights::*member, Mat normed) {
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const LaneBlock& lane = lanes[i];
    const ModelConfig& config = *lane.config;
    const Norm& norm = lane.weights->*member;
    const Mat update = rows_of(stacked, i, lane.hidden.rows);
    const Mat out = rows_of(normed, i, lane.hidden.rows);
    if (config.norm == NormKind::kLayerNorm) {
      backend.add_layer_norm(update, lane.hidden, norm.weight, norm.bias, config.norm_eps, out);
    } else {
      backend.add_rms_norm(update, lane.hidden, norm.weight, config.norm_eps,
                           weight_offset(config.norm), out);
    }
  }
}

/// Stores new keys and values where each segment ends in the cache.
void append_to_cache(Backend& backend, Mat k, Mat v, const KvCache& cache) {
  for (const AttentionSegment& segment : cache.segments) {
    const std::int64_t at = segment.k_begin + segment.k_len - segment.q_len;
    backend.copy(k.row_range(segment.q_begin, segment.q_len), cache.k.row_range(at, segment.q_len));
    backend.copy(v.row_range(segment.q_begin, segment.q_len), cache.v.row_range(at, segment.q_len));
  }
}

/// The attention of one lane: q, k, v are column ranges of qkv [T, (N + 2G) * D].
void attend(Backend& backend, const LaneBlock& lane, const Chunk& chunk, Mat qkv, Mat out) {
  const ModelConfig& config = *lane.config;
  const std::int64_t heads = config.num_attention_heads;                  // N
  const std::int64_t kv_heads = config.num_key_value_heads;               // G
  const std::int64_t dim = config.head_dim;                               // D
  const Mat q = qkv.col_range(0, heads * dim);                            // [T, N*D]
  const Mat k = qkv.col_range(heads * dim, kv_heads * dim);               // [T, G*D]
  const Mat v = qkv.col_range((heads + kv_heads) * dim, kv_heads * dim);  // [T, G*D]
  normalise_heads(backend, config, lane.weights->q_norm, heads, q);
  normalise_heads(backend, config, lane.weights->k_norm, kv_heads, k);
  if (lane.rope != nullptr) {
    backend.rope(lane.rope->cos, lane.rope->sin, heads, lane.rope->rotary_dim, q);
    backend.rope(lane.rope->cos, lane.rope->sin, kv_heads, lane.rope->rotary_dim, k);
  }
  const AttentionParams params{.heads = heads,
                               .kv_heads = kv_heads,
                               .head_dim = dim,
                               .scale = config.attention_scale,
                               .softcap = config.attention_softcap,
                               .window = lane.layer->sliding_window,
                               .causal = config.causal};
  if (lane.cache.empty()) {
    backend.attention(q, k, v, chunk.segments, params, out);
  } else {
    append_to_cache(backend, k, v, lane.cache);
    backend.attention(q, lane.cache.k, lane.cache.v, lane.cache.segments, params, out);
  }
}

/// hidden[t] = the adapter's own row for every token whose embedding it trained
/// (trainable_token_indices).
void override_rows(Backend& backend, const RowOverride& rows, double factor, const Chunk& chunk,
                   Mat scratch, Mat hidden) {
  std::vector<std::int32_t> row_of_token;
  std::vector<std::int64_t> tokens;
  for (std::size_t t = 0; t < chunk.ids.size(); ++t) {
    const auto found = std::find(rows.rows.begin(), rows.rows.end(), chunk.ids[t]);
    if (found != rows.rows.end()) {
      row_of_token.push_back(static_cast<std::int32_t>(found - rows.rows.begin()));
      tokens.push_back(static_cast<std::int64_t>(t));
    }
  }
  if (tokens.empty()) {
    return;
  }
  const auto count = static_cast<std::int64_t>(tokens.size());
  backend.embed(rows.values, row_of_token, factor, scratch.row_range(0, count));
  for (std::int64_t i = 0; i < count; ++i) {
    backend.copy(scratch.row_range(i, 1), hidden.row_range(tokens[static_cast<std::size_t>(i)], 1));
  }
}

/// logits[:, id] from the adapter's own rows of a tied head.
void override_columns(Backend& backend, const LaneHead& lane, Mat x, Workspace& work) {
  const RowOverride& rows = lane.weights->head_rows;
  if (rows.rows.empty()) {
    return;
  }
  const Mat scores = work.overridden(x.rows, static_cast<std::int64_t>(rows.rows.size()));
  backend.linear(x, {.values = rows.values}, {}, scores);
  for (std::size_t i = 0; i < rows.rows.size(); ++i) {
    backend.copy(scores.col_range(static_cast<std::int64_t>(i), 1),
                 lane.logits.col_range(rows.rows[i], 1));
  }
}

}  // namespace

void normalise(Backend& backend, const ModelConfig& config, const Norm& norm, Mat x, Mat out) {
  if (config.norm == NormKind::kLayerNorm) {
    backend.layer_norm(x, norm.weight, norm.bias, config.norm_eps, out);
  } else {
    backend.rms_norm(x, norm.weight, config.norm_eps, weight_offset(config.norm), 1, out);
  }
}

// The forward pass
// ------------------------------------------------------------------------------------------

void embed(Backend& backend, const ModelConfig& config, const GlobalWeights& weights,
           const Chunk& chunk, Mat scratch, Mat hidden) {
  backend.embed(weights.embed_tokens, chunk.ids, config.embedding_scale, hidden);  // [T, H]
  if (const LowRank& delta = weights.embed_delta; !delta.empty()) {
    const double scale = delta.scale * config.embedding_scale;
    backend.low_rank_embed(chunk.ids, delta.a, delta.b, scale, hidden);
    if (!delta.dora.empty()) {
      backend.scale_columns(delta.dora, hidden);
    }
  }
  override_rows(backend, weights.embed_rows, config.embedding_scale, chunk, scratch, hidden);
  if (!weights.embed_positions.empty()) {
    const std::vector<std::int32_t> positions(chunk.positions.begin(), chunk.positions.end());
    backend.embed(weights.embed_positions, positions, 1.0, scratch);  // [T, H]
    backend.add(scratch, hidden);
  }
}

namespace {

/// out = attention(x), [lanes*T, H] both.
void attention_update(Backend& backend, std::span<const LaneBlock> lanes, const Chunk& chunk, Mat x,
                      Workspace& work, Mat out) {
  const ModelConfig& config = *lanes.front().config;
  const std::int64_t q_cols = config.num_attention_heads * config.head_dim;
  const std::int64_t kv_cols = config.num_key_value_heads * config.head_dim;

  const Mat qkv = work.qkv(x.rows);         // [lanes*T, (N + 2G) * D]
  const Mat mixed = work.attended(x.rows);  // [lanes*T, N*D]

  if (config.packed_qkv) {
    project(backend, lanes, {{&LayerWeights::qkv, qkv}}, x);
  } else {
    project(backend, lanes,
            {{&LayerWeights::q, qkv.col_range(0, q_cols)},
             {&LayerWeights::k, qkv.col_range(q_cols, kv_cols)},
             {&LayerWeights::v, qkv.col_range(q_cols + kv_cols, kv_cols)}},
            x);
  }
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    attend(backend, lanes[i], chunk, rows_of(qkv, i, chunk.tokens),
           rows_of(mixed, i, chunk.tokens));
  }
  project(backend, lanes, {{&LayerWeights::o, out}}, mixed);
  normalise_updates(backend, lanes, &LayerWeights::post_attention_norm, out);
}

/// out = mlp(x), [lanes*T, H] both.
void mlp_update(Backend& backend, std::span<const LaneBlock> lanes, Mat x, Workspace& work,
                Mat out) {
  const ModelConfig& config = *lanes.front().config;
  const std::int64_t inner = config.intermediate_size;  // I

  if (lanes.front().layer->moe) {
    moe_block(backend, lanes, x, out, work);
  } else {
    const Mat gate_up = work.gate_up(x.rows);        // [lanes*T, 2 * I]
    const Mat gate = gate_up.col_range(0, inner);    // [lanes*T, I]
    const Mat up = gate_up.col_range(inner, inner);  // [lanes*T, I]
    if (config.packed_gate_up) {
      project(backend, lanes, {{&LayerWeights::gate_up, gate_up}}, x);
    } else if (config.gated_mlp) {
      project(backend, lanes, {{&LayerWeights::gate, gate}, {&LayerWeights::up, up}}, x);
    } else {
      project(backend, lanes, {{&LayerWeights::up, up}}, x);
    }
    if (config.gated_mlp) {
      backend.gated_activation(config.activation, gate, up, up);
    } else {
      backend.activation(config.activation, up);
    }
    project(backend, lanes, {{&LayerWeights::down, out}}, up);
  }
  normalise_updates(backend, lanes, &LayerWeights::post_mlp_norm, out);
}

std::int64_t stacked_rows(std::span<const LaneBlock> lanes) {
  return static_cast<std::int64_t>(lanes.size()) * lanes.front().hidden.rows;
}

}  // namespace

void attention_block(Backend& backend, std::span<const LaneBlock> lanes, const Chunk& chunk,
                     Workspace& work) {
  const Mat x = work.normed(stacked_rows(lanes));    // [lanes*T, H]
  const Mat out = work.output(stacked_rows(lanes));  // [lanes*T, H]
  normalise_lanes(backend, lanes, &LayerWeights::input_norm, x);
  attention_update(backend, lanes, chunk, x, work, out);
  add_residual(backend, lanes, out);
}

void mlp_block(Backend& backend, std::span<const LaneBlock> lanes, Workspace& work) {
  const Mat x = work.normed(stacked_rows(lanes));    // [lanes*T, H]
  const Mat out = work.output(stacked_rows(lanes));  // [lanes*T, H]
  normalise_lanes(backend, lanes, &LayerWeights::mlp_norm, x);
  mlp_update(backend, lanes, x, work, out);
  add_residual(backend, lanes, out);
}

void layer_block(Backend& backend, std::span<const LaneBlock> lanes, const Chunk& chunk,
                 Workspace& work) {
  const Mat x = work.normed(stacked_rows(lanes));    // [lanes*T, H]
  const Mat out = work.output(stacked_rows(lanes));  // [lanes*T, H]
  normalise_lanes(backend, lanes, &LayerWeights::input_norm, x);
  attention_update(backend, lanes, chunk, x, work, out);
  add_and_normalise(backend, lanes, out, &LayerWeights::mlp_norm, x);
  mlp_update(backend, lanes, x, work, out);
  add_residual(backend, lanes, out);
}

void head(Backend& backend, std::span<const LaneHead> lanes, Workspace& work) {
  const std::int64_t tokens = lanes.front().hidden.rows;
  const Mat x = work.normed(static_cast<std::int64_t>(lanes.size()) * tokens);  // [lanes*T, H]
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    normalise(backend, *lanes[i].config, lanes[i].weights->final_norm, lanes[i].hidden,
              rows_of(x, i, tokens));
  }
  for (std::size_t first = 0; first < lanes.size();) {
    // Logits of one vocabulary size stack into one matrix; lanes with another size start their own.
    std::vector<LaneLinear> parts;
    std::size_t next = first;
    for (; next < lanes.size() && lanes[next].logits.cols == lanes[first].logits.cols; ++next) {
      parts.push_back({&lanes[next].weights->lm_head,
                       static_cast<std::int64_t>(next - first) * tokens, tokens});
    }
    const std::int64_t rows = static_cast<std::int64_t>(next - first) * tokens;
    Mat logits = lanes[first].logits;  // [lanes*T, V]
    logits.rows = rows;
    lanes_linear(backend, parts, x.row_range(static_cast<std::int64_t>(first) * tokens, rows),
                 logits);
    first = next;
  }
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const LaneHead& lane = lanes[i];
    override_columns(backend, lane, rows_of(x, i, tokens), work);
    if (lane.config->final_softcap > 0.0) {
      backend.softcap(lane.config->final_softcap, lane.logits);
    }
  }
}

}  // namespace mg
