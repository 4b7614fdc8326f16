// Several lanes through the same prompts a step at a time, with keys and values kept: first whole
// prompts, then a token of each (DESIGN.md section 2).  All prompts of a step are one batch, and
// lanes that share a matrix share its product, so that a step reads each weight once.  Not for:
// which token comes next (harness/run) or differences of hidden states (lockstep.h).
//
// A row's numbers do not depend on which prompts stand beside it, nor on how its prompt was cut
// into steps: bit for bit on the cpu backend; on a backend with a library's products bit for bit
// among calls of kMinStableRows rows and more, and among those of fewer, and within the contract's
// bound between the two (kernels/backend.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "harness/lanes/announced.h"
#include "harness/lanes/kv_store.h"
#include "harness/lanes/lockstep.h"
#include "harness/lanes/rope_tables.h"

namespace mg {

struct DecoderOptions {
  std::int64_t chunk_tokens = 512;  // rows of a lane in work at once
  // Give every layer's weights back after its use, for models that do not fit in memory; else a
  // device keeps them from step to step.
  bool streamed = false;
  std::size_t logits_bytes = std::size_t{64} << 20;
};

/// The next tokens of a prompt.
struct NewTokens {
  std::size_t prompt = 0;
  std::vector<std::vector<std::int32_t>> ids;  // one list for every lane, or one each, equally long
  // Length for which angles of ropes that depend on it (dynamic, longrope) are made; 0: the
  // prompt's so far, these tokens included, as transformers does: keys keep the angles they were
  // cached with.
  std::int64_t rope_length = 0;
};

/// Rows of a step whose logits are wanted.
enum class StepRows : std::uint8_t {
  kLast,  // each prompt's last new token: row i is tokens[i]'s
  kAll,   // all new tokens, in order
};

class Decoder {
 public:
  /// `lanes` stand on one backend; their sources outlive the decoder.  `capacities`: tokens that
  /// each prompt will have at the end.  Throws Error "lanes.shape" as run_lockstep().
  Decoder(std::span<const Lane> lanes, std::vector<std::int64_t> capacities,
          const DecoderOptions& options = {});

  /// Runs the tokens of one or more prompts, each at most once, and calls `logits` for the rows
  /// asked for, in order, a chunk at a time.  Throws Error "file.*" where a file went away.
  void advance(std::span<const NewTokens> tokens, StepRows rows,
               const std::function<void(const LogitChunk&)>& logits);

  /// Tokens that a prompt has so far.
  std::int64_t length(std::size_t prompt) const { return lengths_[prompt]; }
  /// Goes on as if a prompt had `tokens` tokens, fewer than it has or more; keys and values that
  /// were never computed are zeros.  For measuring time alone.
  void assume(std::size_t prompt, std::int64_t tokens);
  /// Of keys and values, all lanes.
  std::uint64_t cache_bytes() const;

 private:
  struct Piece;
  void prepare(std::span<const NewTokens> tokens);
  /// The step's rows in pieces; counts them into the caches.
  std::vector<Piece> cut(std::span<const NewTokens> tokens);
  void run_layers(std::vector<Piece> pieces, const RopeTables& ropes);
  void run_layer(std::int64_t l, const std::vector<Piece>& pieces, const RopeTables& ropes);
  void run_head(std::span<const std::int32_t> rows,
                const std::function<void(const LogitChunk&)>& logits);
  Mat hidden(std::size_t lane) const;

  std::vector<Lane> lanes_;
  Backend& backend_;
  const ModelConfig& config_;
  DecoderOptions options_;
  std::vector<std::int64_t> lengths_;  // of each prompt
  std::vector<CacheSlots> slots_;      // by kind of layer
  std::vector<std::size_t> kind_of_layer_;
  std::vector<KvStore> stores_;                  // of each lane
  std::int64_t rows_ = 0;                        // that the buffers below have room for
  std::int64_t tokens_ = 0;                      // of the step at hand
  std::vector<std::unique_ptr<Buffer>> hidden_;  // of each lane, [rows, H]
  std::unique_ptr<Workspace> work_;
  std::vector<Announced> resident_;
  bool cleared_ = false;  // the caches, for assume()
};

}  // namespace mg
