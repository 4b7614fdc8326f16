#include "harness/lanes/kv_store.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace mg {

CacheSlots::CacheSlots(std::span<const std::int64_t> capacities, std::int64_t window,
                       std::int64_t most_new)
    : window_(window) {
  for (const std::int64_t capacity : capacities) {
    Slot slot{.begin = rows_, .capacity = capacity, .held = 0, .tokens = 0, .limit = capacity};
    if (window > 0) {
      // What is kept when room runs out is less than window + kKeyTile rows, and then lies wholly
      // behind where it goes.
      slot.capacity = std::min(capacity, 2 * (window + kKeyTile) + most_new);
    }
    rows_ += slot.capacity;
    slots_.push_back(slot);
  }
}

CacheStep CacheSlots::advance(std::span<const NewRows> rows) {
  CacheStep step;
  for (const NewRows& added : rows) {
    Slot& slot = slots_[added.prompt];
    MG_CHECK(slot.tokens + added.count <= slot.limit, "the prompt's cache has room");
    if (slot.held + added.count > slot.capacity) {
      // The first new query sees itself and the window - 1 rows before it.  Whole tiles are
      // dropped, so that the others keep their place in their tile, and results their bits.
      const std::int64_t seen = std::min(slot.held, window_ - 1);
      const std::int64_t dropped = (slot.held - seen) / kKeyTile * kKeyTile;
      const std::int64_t kept = slot.held - dropped;
      MG_CHECK(kept <= dropped && kept + added.count <= slot.capacity,
               "a windowed cache holds twice its window");
      step.moves.push_back({.from = slot.begin + dropped, .to = slot.begin, .count = kept});
      slot.held = kept;
    }
    slot.held += added.count;
    slot.tokens += added.count;
    step.segments.push_back({.q_begin = added.q_begin,
                             .q_len = added.count,
                             .k_begin = slot.begin,
                             .k_len = slot.held});
  }
  return step;
}

void CacheSlots::assume(std::size_t prompt, std::int64_t tokens) {
  Slot& slot = slots_[prompt];
  MG_CHECK(tokens <= slot.limit, "the prompt's cache has room");
  slot.tokens = tokens;
  slot.held = tokens;
  if (window_ > 0 && tokens > slot.capacity) {
    const std::int64_t seen = window_ - 1;
    slot.held = seen + (tokens - seen) % kKeyTile;
  }
}

KvStore::KvStore(Backend& backend, const ModelConfig& config, std::span<const CacheSlots> slots,
                 std::span<const std::size_t> kind_of_layer)
    : backend_(backend), width_(config.num_key_value_heads * config.head_dim) {
  for (const std::size_t kind : kind_of_layer) {
    const std::int64_t rows = slots[kind].rows();
    layers_.push_back({backend.allocate(rows * width_), backend.allocate(rows * width_), rows});
  }
}

void KvStore::move(std::int64_t l, const CacheStep& step) {
  const Layer& layer = layers_[static_cast<std::size_t>(l)];
  for (const CacheMove& each : step.moves) {
    for (Buffer* buffer : {layer.k.get(), layer.v.get()}) {
      const Mat rows = whole(*buffer, layer.rows, width_);
      backend_.copy(rows.row_range(each.from, each.count), rows.row_range(each.to, each.count));
    }
  }
}

KvCache KvStore::cache(std::int64_t l, const CacheStep& step) const {
  const Layer& layer = layers_[static_cast<std::size_t>(l)];
  return {.k = whole(*layer.k, layer.rows, width_),
          .v = whole(*layer.v, layer.rows, width_),
          .segments = step.segments};
}

void KvStore::clear() {
  for (const Layer& layer : layers_) {
    backend_.fill_zero(whole(*layer.k, layer.rows, width_));
    backend_.fill_zero(whole(*layer.v, layer.rows, width_));
  }
}

std::uint64_t KvStore::bytes() const {
  std::int64_t elements = 0;
  for (const Layer& layer : layers_) {
    elements += 2 * layer.rows * width_;
  }
  return static_cast<std::uint64_t>(elements) * sizeof(float);
}

}  // namespace mg
