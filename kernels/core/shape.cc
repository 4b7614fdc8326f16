#include "kernels/core/shape.h"

#include <algorithm>

namespace mg {

std::optional<std::int64_t> checked_mul(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product)) {
    return std::nullopt;
  }
  return product;
}

std::optional<std::int64_t> element_count(const Shape& shape) {
  std::optional<std::int64_t> count = 1;
  for (const std::int64_t dim : shape) {
    count = checked_mul(*count, dim);
    if (!count) {
      return std::nullopt;
    }
  }
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace mg
