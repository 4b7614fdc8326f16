#include "harness/io/tokenizer/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

namespace mg {
namespace {

constexpr std::size_t kScanLimit = 64;
constexpr std::uint32_t kNone = 0xFFFFFFFF;

std::size_t hash_pair(std::uint64_t pair) {
  pair *= 0x9E3779B97F4A7C15ULL;
  return static_cast<std::size_t>(pair ^ (pair >> 32U));
}

}  // namespace

BpeMerges::BpeMerges(std::size_t expected) : slots_(std::bit_ceil(expected * 2 + 16)) {}

const BpeMerges::Slot& BpeMerges::find(const Symbol& left, const Symbol& right) const {
  const std::uint64_t pair = key(left.id, right.id);
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash_pair(pair) & mask;
  while (slots_[at].pair != pair && slots_[at].pair != kFree) {
    at = (at + 1) & mask;
  }
  return slots_[at];  // a free slot has rank kNever
}

void BpeMerges::grow() {
  BpeMerges larger(slots_.size());
  for (const Slot& slot : slots_) {
    if (slot.pair != kFree) {
      larger.add(static_cast<std::int32_t>(slot.pair >> 32U),
                 static_cast<std::int32_t>(slot.pair & 0xFFFFFFFFU), slot.rank, slot.merged);
    }
  }
  *this = std::move(larger);
}

void BpeMerges::add(std::int32_t left, std::int32_t right, std::uint32_t rank,
                    std::int32_t merged) {
  if (size_ * 2 >= slots_.size()) {
    grow();
  }
  const std::uint64_t pair = key(left, right);
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash_pair(pair) & mask;
  while (slots_[at].pair != pair && slots_[at].pair != kFree) {
    at = (at + 1) & mask;
  }
  size_ += slots_[at].pair == kFree ? 1 : 0;
  slots_[at] = {pair, rank, merged};
}

void BpeMerges::apply(std::vector<Symbol>& symbols, Scratch& scratch) const {
  if (symbols.size() <= kScanLimit) {
    apply_by_scanning(symbols, scratch);
  } else {
    apply_by_heap(symbols, scratch);
  }
}

void BpeMerges::apply_by_scanning(std::vector<Symbol>& symbols, Scratch& scratch) const {
  if (symbols.size() < 2) {
    return;
  }
  std::vector<std::uint32_t>& ranks = scratch.ranks;  // of the pair (i, i + 1)
  ranks.resize(symbols.size() - 1);
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    ranks[i] = find(symbols[i], symbols[i + 1]).rank;
  }
  while (!ranks.empty()) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (*best == kNever) {
      return;
    }
    const auto at = best - ranks.begin();
    const auto left = symbols.begin() + at;
    left->id = find(*left, *(left + 1)).merged;
    left->bytes += (left + 1)->bytes;
    symbols.erase(left + 1);
    ranks.erase(best);
    const auto i = static_cast<std::size_t>(at);
    if (i > 0) {
      ranks[i - 1] = find(symbols[i - 1], symbols[i]).rank;
    }
    if (i < ranks.size()) {
      ranks[i] = find(symbols[i], symbols[i + 1]).rank;
    }
  }
}

void BpeMerges::apply_by_heap(std::vector<Symbol>& symbols, Scratch& scratch) const {
  const auto size = static_cast<std::uint32_t>(symbols.size());
  std::vector<std::uint64_t>& heap =
      scratch.heap;  // (rank, position); stale entries are skipped when met
  std::vector<std::uint32_t>& previous = scratch.previous;
  std::vector<std::uint32_t>& next = scratch.next;
  heap.clear();
  previous.resize(size);
  next.resize(size);
  for (std::uint32_t i = 0; i < size; ++i) {
    previous[i] = i == 0 ? kNone : i - 1;
    next[i] = i + 1 == size ? kNone : i + 1;
  }
  const auto entry = [&](std::uint32_t left) {
    const std::uint64_t rank = find(symbols[left], symbols[next[left]]).rank;
    return (rank << 32U) | left;
  };
  const auto push = [&](std::uint32_t left) {
    const std::uint64_t pair = entry(left);
    if (pair >> 32U != kNever) {
      heap.push_back(pair);
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
    }
  };
  for (std::uint32_t i = 0; i + 1 < size; ++i) {
    const std::uint64_t pair = entry(i);
    if (pair >> 32U != kNever) {
      heap.push_back(pair);
    }
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    const std::uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    const auto left = static_cast<std::uint32_t>(top);
    if (symbols[left].bytes == 0 || next[left] == kNone || entry(left) != top) {
      continue;
    }
    const std::uint32_t right = next[left];
    symbols[left].id = find(symbols[left], symbols[right]).merged;
    symbols[left].bytes += symbols[right].bytes;
    symbols[right].bytes = 0;  // gone
    next[left] = next[right];
    if (next[left] != kNone) {
      previous[next[left]] = left;
      push(left);
    }
    if (previous[left] != kNone) {
      push(previous[left]);
    }
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.bytes == 0; });
}

}  // namespace mg
