// Codes and scales for tests of their decoding (kernels/core/dequantise.h), wherever it runs.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace mg::test {

inline std::vector<std::byte> random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(random() & 0xFFU);
  }
  return bytes;
}

/// FP32 of both signs and sizes, a NaN, an infinity and a zero among them, from the second byte on:
/// at an odd address.
inline std::vector<std::byte> random_scales(std::int64_t count) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<std::byte> bytes(static_cast<std::size_t>(count) * sizeof(float) + 1);
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = i == 3 ? std::nanf("") : i == 4 ? INFINITY : i == 5 ? 0.0F : normal(random);
    std::memcpy(bytes.data() + 1 + i * 4, &value, sizeof(value));
  }
  return bytes;
}

}  // namespace mg::test
