// The forward pass of a decoder, or of a vision tower's blocks, one half of a layer at a time, for
// several lanes at once (DESIGN.md section 2). A lane is a set of weights and its own hidden
// states; lanes whose matrix is the same share one product. forward.cc reads like the paper; how
// rows are grouped is in lane_ops.h, rotary angles in rope.h, what stands before and after a
// tower's blocks in vision.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "harness/model/config.h"
#include "harness/model/weights.h"
#include "kernels/backend.h"

namespace mg {

/// Keys and values of one lane and layer, [rows, G*D], kept from call to call.
struct KvCache {
  Mat k;
  Mat v;
  // In place of the chunk's: rows of q in the chunk, rows of keys here.  A segment's last q_len
  // keys are those of its queries, and are written by the call.
  std::span<const AttentionSegment> segments;
  bool empty() const { return k.buffer == nullptr; }
};

/// Rotary angles of the tokens of a chunk, uploaded: cos and sin are [T, rotary_dim / 2].
struct RopeRows {
  Mat cos;
  Mat sin;
  std::int64_t rotary_dim = 0;
};

/// The tokens that one call works on: whole prompts, or one step of each, packed.
struct Chunk {
  std::int64_t tokens = 0;              // T, rows of each lane
  std::vector<std::int32_t> ids;        // [T]
  std::vector<std::int64_t> positions;  // [T]
  std::vector<std::int64_t> lengths;  // per segment: the prompt's whole length (rope kinds need it)
  std::vector<AttentionSegment> segments;  // rows of q and of k in the chunk
};

/// A lane's part in one half of a layer.
struct LaneBlock {
  const ModelConfig* config = nullptr;
  const LayerConfig* layer = nullptr;
  const LayerWeights* weights = nullptr;
  Mat hidden;                      // [T, H], read and updated
  const RopeRows* rope = nullptr;  // of this layer's kind; nullptr: no rotary embedding
  KvCache cache;                   // empty: keys and values live for this call only
};

/// Scratch memory for `lanes` lanes; reused by every layer and chunk.  Attention works on chunks of
/// whole prompts, the MLP, whose rows do not know each other, on as few as the caller likes.
class Workspace {
 public:
  Workspace(Backend& backend, const ModelConfig& config, std::int64_t lanes,
            std::int64_t attention_tokens, std::int64_t mlp_tokens);

  Mat normed(std::int64_t rows) const;                   // [rows, H]
  Mat qkv(std::int64_t rows) const;                      // [rows, (N + 2G) * D]
  Mat attended(std::int64_t rows) const;                 // [rows, N*D]
  Mat output(std::int64_t rows) const;                   // [rows, H]
  Mat gate_up(std::int64_t rows) const;                  // [rows, 2 * I]
  Mat router(std::int64_t rows) const;                   // [rows, E]
  Mat expert_in(std::int64_t rows) const;                // [rows, H]
  Mat overridden(std::int64_t rows, std::int64_t cols);  // [rows, n], grown on demand
  Mat expert_out(std::int64_t rows) const;               // [rows, H]
  /// Frees what head() does not need: the logits' room takes its place.
  void keep_for_head();

 private:
  Backend* backend_;
  std::unique_ptr<Buffer> overridden_;
  std::int64_t overridden_elements_ = 0;
  Mat part(std::size_t index, std::int64_t rows) const;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::int64_t> cols_;
  std::vector<std::int64_t> rows_;
};

/// out = the config's norm of x; out may be x.
void normalise(Backend& backend, const ModelConfig& config, const Norm& norm, Mat x, Mat out);

/// hidden = token embeddings (+ learned positions), scaled.  scratch: [T, H].
void embed(Backend& backend, const ModelConfig& config, const GlobalWeights& weights,
           const Chunk& chunk, Mat scratch, Mat hidden);

/// hidden += attention(norm(hidden)) for every lane.
void attention_block(Backend& backend, std::span<const LaneBlock> lanes, const Chunk& chunk,
                     Workspace& work);

/// hidden += mlp(norm(hidden)) for every lane; a mixture of experts where the layer is one.
void mlp_block(Backend& backend, std::span<const LaneBlock> lanes, Workspace& work);

/// Both halves, bit for bit, where nobody looks at the hidden states in between.
void layer_block(Backend& backend, std::span<const LaneBlock> lanes, const Chunk& chunk,
                 Workspace& work);

/// A lane's part in the head.
struct LaneHead {
  const ModelConfig* config = nullptr;
  const GlobalWeights* weights = nullptr;
  Mat hidden;  // [T, H]
  Mat logits;  // [T, V]; lanes' logits follow one another in one buffer when they share a head
};

/// logits = softcap(lm_head(final_norm(hidden))) for every lane.
void head(Backend& backend, std::span<const LaneHead> lanes, Workspace& work);

}  // namespace mg
