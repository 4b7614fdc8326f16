// Tensor shapes and overflow-checked products of sizes that come from files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mg {

/// Dimensions, outermost first; empty for a scalar.
using Shape = std::vector<std::int64_t>;

/// a * b for non-negative factors, or nothing when it does not fit in 63 bits.
std::optional<std::int64_t> checked_mul(std::int64_t a, std::int64_t b);

/// Product of the dimensions (1 for a scalar), or nothing on overflow or a negative dimension.
std::optional<std::int64_t> element_count(const Shape& shape);

/// A non-negative size or position as containers count them.
inline std::size_t to_index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// "[16, 896]"
std::string to_string(const Shape& shape);

}  // namespace mg
