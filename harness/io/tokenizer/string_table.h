// A hash table from texts to numbers that keeps its keys in one buffer: vocabularies have 10^5
// short keys and are asked once or more for every token.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

/// Hash of a short byte string (multiply and fold, eight bytes at a time).
inline std::uint64_t hash_bytes(std::string_view bytes) {
  constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15ULL;
  const auto mix = [](std::uint64_t hash, std::uint64_t word) {
    const auto wide = static_cast<unsigned __int128>(hash ^ word) * kMultiplier;
    return static_cast<std::uint64_t>(wide) ^ static_cast<std::uint64_t>(wide >> 64U);
  };
  std::uint64_t hash = 0xD6E8FEB86659FD93ULL ^ bytes.size();
  const char* data = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, data += 8) {
    std::uint64_t word = 0;
    __builtin_memcpy(&word, data, 8);
    hash = mix(hash, word);
  }
  std::uint64_t word = 0;
  __builtin_memcpy(&word, data, left);
  return mix(mix(hash, word), kMultiplier);
}

class StringTable {
 public:
  explicit StringTable(std::size_t expected = 0);

  /// Puts `value` under `key`, over what was there.
  void set(std::string_view key, std::uint32_t value);
  std::optional<std::uint32_t> find(std::string_view key) const;
  std::size_t size() const { return size_; }
  std::size_t key_bytes() const { return keys_.size(); }
  void clear();

 private:
  struct Slot {
    std::uint32_t tag = 0;  // upper hash bits; 0: free
    std::uint32_t key_begin = 0;
    std::uint32_t key_size = 0;
    std::uint32_t value = 0;
  };
  static std::uint32_t tag_of(std::uint64_t hash) {
    return static_cast<std::uint32_t>(hash >> 32U) | 1U;
  }
  std::size_t slot_of(std::string_view key, std::uint64_t hash) const;
  void grow(std::size_t slots);

  std::vector<Slot> slots_;  // a power of two, at most half full
  std::string keys_;
  std::size_t size_ = 0;
};

}  // namespace mg
