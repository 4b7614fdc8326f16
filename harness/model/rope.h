// Rotary angles: cos and sin of position * frequency for each token, in float32 as transformers
// computes them (modeling_rope_utils: default, linear, dynamic, yarn, llama3, longrope).  Rotating
// is Backend::rope.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/model/config.h"

namespace mg {

/// Row-major [tokens, rotary_dim / 2]; already multiplied by the scaling's attention factor.
struct RopeTable {
  std::int64_t rotary_dim = 0;
  std::vector<float> cos;
  std::vector<float> sin;
};

/// Time, height, width.  The three of a text token are equal.
using Position = std::array<std::int64_t, 3>;

/// Number of rotated elements of a head.
std::int64_t rotary_dim(const RopeConfig& rope, std::int64_t head_dim);

/// Inverse frequencies [rotary_dim / 2] for a prompt of `length` tokens (dynamic and longrope
/// depend on it).
std::vector<float> inverse_frequencies(const RopeConfig& rope, std::int64_t head_dim,
                                       std::int64_t length);

/// Appends the rows of one prompt, whose whole length (cache included) is `length`, at the given
/// positions.
void append_rope_rows(const RopeConfig& rope, std::int64_t head_dim, std::int64_t length,
                      std::span<const Position> positions, RopeTable& table);

}  // namespace mg
