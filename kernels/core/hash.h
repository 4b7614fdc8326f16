// A fast 64-bit fingerprint of activations: to see at a glance, and test, that two runs gave the
// same bits. Not for: file digests (SHA-256, harness/io/digest.h) or anything an adversary could
// gain from.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mg {

/// FNV-1a over 8-byte words, then bytes; `seed` chains calls.
inline std::uint64_t fingerprint(const void* data, std::size_t bytes,
                                 std::uint64_t seed = 0xCBF29CE484222325ULL) {
  const auto* p = static_cast<const unsigned char*>(data);
  std::uint64_t hash = seed;
  constexpr std::uint64_t kPrime = 0x100000001B3ULL;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    std::uint64_t word = 0;
    __builtin_memcpy(&word, p, 8);
    hash = (hash ^ word) * kPrime;
    hash ^= hash >> 32;
  }
  for (; bytes > 0; --bytes, ++p) {
    hash = (hash ^ *p) * kPrime;
  }
  return hash;
}

}  // namespace mg
