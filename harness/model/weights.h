// The weights of a model as the forward pass uses them: by role, a low-rank pair beside the matrix
// it adapts. Views only: a WeightSource (harness/lanes) fills them and owns, or maps, what they
// point to.
#pragma once

#include <vector>

#include "kernels/backend.h"

namespace mg {

/// scale * B * A beside a matrix, unmerged.
struct LowRank {
  TensorView a;  // [R, K] (an embedding's: [R, V])
  TensorView b;  // [M, R] (an embedding's: [H, R])
  double scale = 0;
  TensorView bias;          // lora_bias: added times scale, [M]
  std::vector<float> dora;  // magnitude / |W + scale*B*A| of each output, [M]; empty: not DoRA

  bool empty() const { return a.empty(); }
};

/// A matrix with its bias and its adapter.
struct Linear {
  Weight weight;
  TensorView bias;
  LowRank delta;

  bool empty() const { return weight.empty(); }
};

struct Norm {
  TensorView weight;
  TensorView bias;  // LayerNorm only

  bool empty() const { return weight.empty(); }
};

struct ExpertWeights {
  Linear gate;
  Linear up;
  Linear down;
};

/// One decoder layer, or one block of a vision tower.  What the architecture does not have is
/// empty.
struct LayerWeights {
  Norm input_norm;
  Linear q, k, v;  // or packed:
  Linear qkv;
  Norm q_norm, k_norm;  // over each head
  Linear o;
  Norm post_attention_norm;  // Gemma: before the residual is added
  Norm mlp_norm;
  Linear gate, up;  // or packed:
  Linear gate_up;
  Linear down;
  Norm post_mlp_norm;  // Gemma
  Linear router;       // mixture of experts: instead of gate, up, down
  std::vector<ExpertWeights> experts;
};

/// Rows of a table that the adapter trained whole (trainable_token_indices): they replace the
/// table's.
struct RowOverride {
  TensorView values;               // [n, H]
  std::vector<std::int64_t> rows;  // [n]
};

/// What is not in a layer.
struct GlobalWeights {
  TensorView embed_tokens;     // [V, H]
  LowRank embed_delta;         // on embed_tokens
  RowOverride embed_rows;      // of embed_tokens
  RowOverride head_rows;       // the same rows of a head tied to it
  TensorView embed_positions;  // [P, H], learned positions
  Norm final_norm;
  Linear lm_head;  // a tied head's weight is embed_tokens
  // Of a vision tower (E its width, m * m patches become one token):
  Linear patch_embed;  // [E, C * temporal * patch * patch]: the convolution's weight, flat
  Norm merger_norm;    // [E]
  Linear merger_up;    // [m*m*E, m*m*E]
  Linear merger_down;  // [H, m*m*E]
};

/// Calls body(TensorView&) for every stored tensor of a layer or of the globals, low-rank parts
/// left out.
template <typename Body>
void for_each_stored(Linear& linear, const Body& body) {
  body(linear.weight.values);
  body(linear.bias);
}

template <typename Body>
void for_each_stored(Norm& norm, const Body& body) {
  body(norm.weight);
  body(norm.bias);
}

template <typename Body>
void for_each_stored(LayerWeights& layer, const Body& body) {
  for (Norm* norm : {&layer.input_norm, &layer.q_norm, &layer.k_norm, &layer.post_attention_norm,
                     &layer.mlp_norm, &layer.post_mlp_norm}) {
    for_each_stored(*norm, body);
  }
  for (Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.qkv, &layer.o, &layer.gate, &layer.up,
                         &layer.gate_up, &layer.down, &layer.router}) {
    for_each_stored(*linear, body);
  }
  for (ExpertWeights& expert : layer.experts) {
    for (Linear* linear : {&expert.gate, &expert.up, &expert.down}) {
      for_each_stored(*linear, body);
    }
  }
}

/// Calls body(const Linear&) for every linear map of a layer; some may be empty.
template <typename Body>
void for_each_linear(const LayerWeights& layer, const Body& body) {
  for (const Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.qkv, &layer.o, &layer.gate,
                               &layer.up, &layer.gate_up, &layer.down, &layer.router}) {
    body(*linear);
  }
  for (const ExpertWeights& expert : layer.experts) {
    body(expert.gate);
    body(expert.up);
    body(expert.down);
  }
}

/// Calls body(const TensorView&) for every matrix of a layer that a product uses, low-rank parts
/// included; some may be empty.
template <typename Body>
void for_each_matrix(const LayerWeights& layer, const Body& body) {
  for_each_linear(layer, [&](const Linear& linear) {
    body(linear.weight.values);
    body(linear.delta.a);
    body(linear.delta.b);
  });
}

template <typename Body>
void for_each_stored(GlobalWeights& globals, const Body& body) {
  body(globals.embed_tokens);
  body(globals.embed_rows.values);
  body(globals.head_rows.values);
  body(globals.embed_positions);
  for_each_stored(globals.final_norm, body);
  for_each_stored(globals.lm_head, body);
  for_each_stored(globals.patch_embed, body);
  for_each_stored(globals.merger_norm, body);
  for_each_stored(globals.merger_up, body);
  for_each_stored(globals.merger_down, body);
}

}  // namespace mg
