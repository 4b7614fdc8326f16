#include "harness/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/core/error.h"

namespace mg {
namespace {

/// base^(2i/dim) in float32, the reference's `base ** (arange(0, dim, 2).float() / dim)`.
std::vector<float> powers(double base, std::int64_t dim) {
  std::vector<float> result(static_cast<std::size_t>(dim / 2));
  for (std::size_t i = 0; i < result.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    // In double and rounded once: torch's float32 pow is within an ulp of this.
    result[i] = static_cast<float>(std::pow(base, static_cast<double>(exponent)));
  }
  return result;
}

void llama3_in_place(const RopeConfig& rope, std::vector<float>& frequencies) {
  const auto original = static_cast<float>(rope.original_max_position_embeddings);
  const auto factor = static_cast<float>(rope.factor);
  const auto low = static_cast<float>(rope.low_freq_factor);
  const auto high = static_cast<float>(rope.high_freq_factor);
  for (float& frequency : frequencies) {
    const float wavelength = 2.0F * std::numbers::pi_v<float> / frequency;
    if (wavelength > original / low) {
      frequency /= factor;
    } else if (!(wavelength < original / high)) {
      const float smooth = (original / wavelength - low) / (high - low);
      frequency = (1.0F - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

std::vector<float> yarn(const RopeConfig& rope, std::int64_t dim) {
  const auto correction = [&](double rotations) {
    return static_cast<double>(dim) *
           std::log(static_cast<double>(rope.original_max_position_embeddings) /
                    (rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(rope.theta));
  };
  double low = correction(rope.beta_fast);
  double high = correction(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) {
    high += 0.001;  // as the reference: a ramp of width zero would divide by it
  }
  std::vector<float> result = powers(rope.theta, dim);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0F,
        1.0F);
    const float keep = 1.0F - ramp;
    const float interpolated = 1.0F / (static_cast<float>(rope.factor) * result[i]);
    result[i] = interpolated * (1.0F - keep) + 1.0F / result[i] * keep;
  }
  return result;
}

}  // namespace

std::int64_t rotary_dim(const RopeConfig& rope, std::int64_t head_dim) {
  return static_cast<std::int64_t>(static_cast<double>(head_dim) * rope.partial_rotary_factor);
}

std::vector<float> inverse_frequencies(const RopeConfig& rope, std::int64_t head_dim,
                                       std::int64_t length) {
  const std::int64_t dim = rotary_dim(rope, head_dim);
  double base = rope.theta;
  if (rope.kind == RopeConfig::Kind::kYarn) {
    return yarn(rope, dim);
  }
  if (rope.kind == RopeConfig::Kind::kDynamic) {
    const auto limit = static_cast<double>(rope.original_max_position_embeddings);
    const double stretch = rope.factor * std::max(static_cast<double>(length), limit) / limit;
    base *= std::pow(stretch - (rope.factor - 1.0),
                     static_cast<double>(dim) / static_cast<double>(dim - 2));
  }
  if (rope.kind == RopeConfig::Kind::kAxial) {
    std::vector<float> half = powers(base, dim / 2);
    for (float& value : half) {
      value = 1.0F / value;
    }
    half.insert(half.end(), half.begin(), half.end());
    return half;
  }
  std::vector<float> result = powers(base, dim);
  if (rope.kind == RopeConfig::Kind::kLongRope) {
    const bool is_long = length > rope.original_max_position_embeddings;
    const std::vector<double>& factors = is_long ? rope.long_factor : rope.short_factor;
    MG_CHECK(factors.size() == result.size(), "longrope has a factor for every frequency");
    for (std::size_t i = 0; i < result.size(); ++i) {
      result[i] = 1.0F / (static_cast<float>(factors[i]) * result[i]);
    }
    return result;
  }
  for (float& value : result) {
    value = 1.0F / value;
  }
  if (rope.kind == RopeConfig::Kind::kLinear) {
    for (float& value : result) {
      value /= static_cast<float>(rope.factor);
    }
  } else if (rope.kind == RopeConfig::Kind::kLlama3) {
    llama3_in_place(rope, result);
  }
  return result;
}

namespace {

/// The axis of a position by which each pair of a head turns: of text the first, as all are equal.
std::vector<std::size_t> axes(const RopeConfig& rope, std::size_t pairs) {
  std::vector<std::size_t> axis(pairs, 0);
  if (rope.kind == RopeConfig::Kind::kAxial) {
    std::fill_n(axis.begin(), pairs / 2, std::size_t{1});
    std::fill(axis.begin() + static_cast<std::ptrdiff_t>(pairs / 2), axis.end(), std::size_t{2});
    return axis;
  }
  std::size_t pair = 0;
  for (std::size_t section = 0; section < rope.mrope_section.size(); ++section) {
    for (std::int64_t i = 0; i < rope.mrope_section[section] && pair < pairs; ++i) {
      axis[pair++] = section;
    }
  }
  return axis;
}

}  // namespace

void append_rope_rows(const RopeConfig& rope, std::int64_t head_dim, std::int64_t length,
                      std::span<const Position> positions, RopeTable& table) {
  table.rotary_dim = rotary_dim(rope, head_dim);
  const std::vector<float> frequencies = inverse_frequencies(rope, head_dim, length);
  const std::vector<std::size_t> axis = axes(rope, frequencies.size());
  const auto factor = static_cast<float>(rope.attention_factor);
  for (const Position& position : positions) {
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
      // The angle is rounded to float32, as the reference's matmul leaves it; cos and sin of that
      // angle are computed in double, so that they do not depend on the C library's float version.
      const float angle = static_cast<float>(position[axis[i]]) * frequencies[i];
      table.cos.push_back(static_cast<float>(std::cos(static_cast<double>(angle))) * factor);
      table.sin.push_back(static_cast<float>(std::sin(static_cast<double>(angle))) * factor);
    }
  }
}

}  // namespace mg
