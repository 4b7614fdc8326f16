#include "harness/io/tokenizer/string_table.h"

#include <bit>
#include <utility>

#include "kernels/core/error.h"

namespace mg {

StringTable::StringTable(std::size_t expected) {
  grow(std::bit_ceil(expected * 2 + 16));
}

std::size_t StringTable::slot_of(std::string_view key, std::uint64_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  const std::uint32_t tag = tag_of(hash);
  for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.tag == 0 ||
        (slot.tag == tag && std::string_view(keys_).substr(slot.key_begin, slot.key_size) == key)) {
      return at;
    }
  }
}

void StringTable::grow(std::size_t slots) {
  std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots));
  for (const Slot& slot : old) {
    if (slot.tag != 0) {
      const auto key = std::string_view(keys_).substr(slot.key_begin, slot.key_size);
      slots_[slot_of(key, hash_bytes(key))] = slot;
    }
  }
}

void StringTable::set(std::string_view key, std::uint32_t value) {
  const std::uint64_t hash = hash_bytes(key);
  std::size_t at = slot_of(key, hash);
  if (slots_[at].tag == 0) {
    if (size_ * 2 >= slots_.size()) {
      grow(slots_.size() * 2);
      at = slot_of(key, hash);
    }
    MG_CHECK(keys_.size() + key.size() < 0xFFFFFFFFU, "more than 4 GiB of keys");
    slots_[at] = {tag_of(hash), static_cast<std::uint32_t>(keys_.size()),
                  static_cast<std::uint32_t>(key.size()), 0};
    keys_.append(key);
    ++size_;
  }
  slots_[at].value = value;
}

std::optional<std::uint32_t> StringTable::find(std::string_view key) const {
  const Slot& slot = slots_[slot_of(key, hash_bytes(key))];
  return slot.tag == 0 ? std::nullopt : std::optional<std::uint32_t>(slot.value);
}

void StringTable::clear() {
  slots_.assign(slots_.size(), Slot{});
  keys_.clear();
  size_ = 0;
}

}  // namespace mg
