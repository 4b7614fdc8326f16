#include "reports/html/scale.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reports/format.h"

namespace mg::html {
namespace {

/// The smallest of 1, 2, 5 times a power of ten that is not below `step`.
double round_step(double step) {
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= step * (1.0 - 1e-9)) {
      return factor * power;
    }
  }
  return 10.0 * power;
}

}  // namespace

Scale Scale::linear(double low, double high, double from, double to) {
  return {false, low, high, from, to};
}

Scale Scale::logarithmic(double low, double high, double from, double to) {
  return {true, low, high, from, to};
}

double Scale::at(double value) const {
  const double inside = std::clamp(value, low_, high_);
  const double share = logarithmic_ ? std::log(inside / low_) / std::log(high_ / low_)
                                    : (inside - low_) / (high_ - low_);
  return from_ + share * (to_ - from_);
}

std::vector<Tick> Scale::ticks(int wanted) const {
  std::vector<Tick> ticks;
  if (logarithmic_) {
    const int first = static_cast<int>(std::ceil(std::log10(low_) - 1e-9));
    const int last = static_cast<int>(std::floor(std::log10(high_) + 1e-9));
    const int every = std::max(1, (last - first + wanted) / std::max(1, wanted));
    for (int exponent = first; exponent <= last; exponent += every) {
      const double value = std::pow(10.0, exponent);
      ticks.push_back({value, format_number(value)});
    }
    return ticks;
  }
  const double step = round_step((high_ - low_) / std::max(1, wanted));
  for (double i = std::ceil(low_ / step - 1e-9); i * step <= high_ + 1e-9 * step; i += 1.0) {
    const double value = i == 0.0 ? 0.0 : i * step;
    ticks.push_back({value, format_number(value)});
  }
  return ticks;
}

Range decades_around(std::span<const double> values) {
  double low = std::numeric_limits<double>::infinity();
  double high = 0.0;
  for (const double value : values) {
    if (std::isfinite(value) && value > 0.0) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (!(low <= high)) {
    return {1e-6, 1.0};
  }
  // A denormal's decade has no reciprocal; nothing measured lies there.
  const double first = std::max(-300.0, std::floor(std::log10(low) - 0.05));
  const double last = std::min(300.0, std::max(first + 2.0, std::ceil(std::log10(high) + 0.05)));
  return {std::pow(10.0, first), std::pow(10.0, last)};
}

Range range_around(std::span<const double> values) {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  for (const double value : values) {
    if (std::isfinite(value)) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (!(low <= high)) {
    return {};
  }
  const double margin = high > low ? 0.1 * (high - low) : std::max(0.1 * std::fabs(high), 1e-12);
  return {low >= 0.0 ? std::max(0.0, low - margin) : low - margin, high + margin};
}

}  // namespace mg::html
