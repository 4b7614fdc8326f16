// The random numbers of the bootstrap: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, as published
// by Vigna), chosen because it is a few lines, the same on every platform, and can be started
// anywhere: replicate r of seed s has its own stream, so that any thread may compute it.  Not for:
// drawing tokens or anything secret.
#pragma once

#include <cstdint>

namespace mg {

class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t state) : state_(state) {}

  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    return mix(state_);
  }

  /// Uniform in [0, n): the upper half of a 128-bit product.  Its bias, n / 2^64, is far below what
  /// 10,000 draws show.
  std::int64_t below(std::int64_t n) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(next()) * static_cast<std::uint64_t>(n);
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(product >> 64U));
  }

  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31U);
  }

 private:
  std::uint64_t state_;
};

/// The stream of one replicate.
inline SplitMix64 replicate_stream(std::uint64_t seed, std::int64_t replicate) {
  return SplitMix64(SplitMix64::mix(seed) +
                    SplitMix64::mix(~static_cast<std::uint64_t>(replicate)));
}

}  // namespace mg
