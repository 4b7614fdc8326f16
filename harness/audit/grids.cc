#include "harness/audit/grids.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

namespace mg {
namespace {

constexpr std::int64_t kWindow = 32;
constexpr std::int64_t kLevels = 16;

/// Clusters among sorted values, where values closer than their noise are one.
std::int64_t levels_in(std::span<const double> values, std::span<const double> noise) {
  std::array<std::pair<double, double>, kWindow> sorted;
  for (std::size_t i = 0; i < values.size(); ++i) {
    sorted[i] = {values[i], noise[i]};
  }
  const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(values.size());
  std::sort(sorted.begin(), end);
  std::int64_t levels = 1;
  for (std::size_t i = 1; i < values.size(); ++i) {
    const double gap = sorted[i].first - sorted[i - 1].first;
    levels += gap > sorted[i].second + sorted[i - 1].second ? 1 : 0;
  }
  return levels;
}

bool on_four_bits(std::span<const double> values, std::span<const double> noise) {
  std::int64_t windows = 0;
  std::int64_t few = 0;
  for (std::size_t at = 0; at + kWindow <= values.size(); at += kWindow) {
    ++windows;
    few += levels_in(values.subspan(at, kWindow), noise.subspan(at, kWindow)) <= kLevels ? 1 : 0;
  }
  return windows >= 8 && few * 100 >= windows * 95;
}

/// Multiples of (largest magnitude of the row) / 127, as LLM.int8 stores a row.
bool on_eight_bits(std::span<const double> values, std::span<const double> noise,
                   std::int64_t cols) {
  const auto width = static_cast<std::size_t>(cols);
  std::int64_t rows = 0;
  std::int64_t fitting = 0;
  for (std::size_t at = 0; at + width <= values.size(); at += width) {
    double largest = 0;
    double mean_noise = 0;
    for (std::size_t i = at; i < at + width; ++i) {
      largest = std::max(largest, std::fabs(values[i]));
      mean_noise += noise[i] / static_cast<double>(cols);
    }
    const double step = largest / 127.0;
    // Where a step is not far above the noise, any number would look like a multiple of it.
    if (!(step > 8.0 * mean_noise)) {
      continue;
    }
    double square = 0;
    for (std::size_t i = at; i < at + width; ++i) {
      const double units = values[i] / step;
      const double off = units - std::nearbyint(units);
      square += off * off;
    }
    ++rows;
    // 0.289 for numbers that know nothing of the step.
    fitting += std::sqrt(square / static_cast<double>(cols)) < 0.12 ? 1 : 0;
  }
  return rows >= 4 && fitting * 100 >= rows * 95;
}

}  // namespace

Grid find_grid(std::span<const double> values, std::span<const double> noise, std::int64_t cols) {
  if (on_four_bits(values, noise)) {
    return Grid::kFourBit;
  }
  return cols >= 32 && on_eight_bits(values, noise, cols) ? Grid::kEightBit : Grid::kNone;
}

bool is_constant(const TensorView& view) {
  const auto width = static_cast<std::size_t>(dtype_bits(view.dtype) / 8);
  if (width == 0 || view.bytes <= width) {
    return false;
  }
  // Equal to itself shifted by one element: all elements are the first.
  return std::memcmp(view.data, view.data + width, view.bytes - width) == 0;
}

}  // namespace mg
