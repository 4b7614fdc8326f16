// Where each prompt's keys and values lie from step to step: one cache a lane and layer, a slot of
// rows a prompt.  A layer with a sliding window keeps what its window can still see, and no more
// than twice that.  Not for: the attention itself (harness/model/forward.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "harness/model/config.h"
#include "harness/model/forward.h"
#include "kernels/backend.h"

namespace mg {

/// New rows of one prompt within a chunk.
struct NewRows {
  std::size_t prompt = 0;
  std::int64_t q_begin = 0;  // in the chunk
  std::int64_t count = 0;
};

/// Rows that move within a slot before new ones are written.
struct CacheMove {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t count = 0;
};

/// What a chunk's new rows do to the caches of all layers with one window.
struct CacheStep {
  std::vector<CacheMove> moves;
  std::vector<AttentionSegment> segments;  // LaneBlock's: rows of q in the chunk, of keys here
};

/// The slots of all layers with one window.
class CacheSlots {
 public:
  /// `capacities`: tokens each prompt will have at the end; `most_new`: rows that one call adds to
  /// a prompt at most; `window`: 0 keeps every key.
  CacheSlots(std::span<const std::int64_t> capacities, std::int64_t window, std::int64_t most_new);

  std::int64_t window() const { return window_; }
  std::int64_t rows() const { return rows_; }
  /// Makes room for the rows and counts them in.
  CacheStep advance(std::span<const NewRows> rows);
  /// Counts a prompt as having `tokens` tokens, whatever lies in its rows.
  void assume(std::size_t prompt, std::int64_t tokens);

 private:
  struct Slot {
    std::int64_t begin = 0;     // row in the cache
    std::int64_t capacity = 0;  // rows
    std::int64_t held = 0;      // rows in use
    std::int64_t tokens = 0;    // of the prompt so far
    std::int64_t limit = 0;     // tokens it may have
  };
  std::int64_t window_;
  std::int64_t rows_ = 0;
  std::vector<Slot> slots_;
};

/// The caches of one lane.
class KvStore {
 public:
  /// `slots[kind_of_layer[l]]` are layer l's.
  KvStore(Backend& backend, const ModelConfig& config, std::span<const CacheSlots> slots,
          std::span<const std::size_t> kind_of_layer);

  /// Makes the step's moves in layer `l`.
  void move(std::int64_t l, const CacheStep& step);
  KvCache cache(std::int64_t l, const CacheStep& step) const;
  std::uint64_t bytes() const;
  /// Zeros everywhere.
  void clear();

 private:
  struct Layer {
    std::unique_ptr<Buffer> k;
    std::unique_ptr<Buffer> v;
    std::int64_t rows = 0;
  };
  Backend& backend_;
  std::int64_t width_;  // G*D
  std::vector<Layer> layers_;
};

}  // namespace mg
