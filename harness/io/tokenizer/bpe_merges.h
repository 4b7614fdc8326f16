// The merges of a BPE model and the greedy algorithm that applies them: of all neighbouring pairs
// that can merge, the one learnt first, the leftmost where it occurs twice, until none is left
// (Sennrich et al. 2016, algorithm 1). Words of up to 64 symbols by scanning, longer ones with a
// heap: time n log n for any input.
#pragma once

#include <cstdint>
#include <vector>

namespace mg {

struct Symbol {
  std::int32_t id = 0;
  std::uint32_t bytes = 0;  // of the word it stands for
};

class BpeMerges {
 public:
  explicit BpeMerges(std::size_t expected);

  /// (left, right) becomes `merged`; a smaller rank goes first.  A pair given twice keeps the later
  /// rank, as in the reference.
  void add(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t merged);

  struct Scratch {
    std::vector<std::uint32_t> ranks;
    std::vector<std::uint64_t> heap;
    std::vector<std::uint32_t> previous;
    std::vector<std::uint32_t> next;
  };

  /// Merges `symbols` as far as possible.
  void apply(std::vector<Symbol>& symbols, Scratch& scratch) const;

  /// The two ways apply() goes, for their test: equal results, different cost.
  void apply_by_scanning(std::vector<Symbol>& symbols, Scratch& scratch) const;
  void apply_by_heap(std::vector<Symbol>& symbols, Scratch& scratch) const;

 private:
  static constexpr std::uint32_t kNever = 0xFFFFFFFF;
  struct Slot {
    std::uint64_t pair = kFree;
    std::uint32_t rank = kNever;
    std::int32_t merged = 0;
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};

  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32U) |
           static_cast<std::uint32_t>(right);
  }
  const Slot& find(const Symbol& left, const Symbol& right) const;
  void grow();

  std::vector<Slot> slots_;  // a power of two, at most half full
  std::size_t size_ = 0;
};

}  // namespace mg
