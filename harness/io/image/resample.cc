#include "harness/io/image/resample.h"

#include <algorithm>
#include <cmath>

namespace mg {
namespace {

constexpr int kPrecision = 32 - 8 - 2;  // bits behind the point of a coefficient

double bicubic(double x) {
  constexpr double kSharpness = -0.5;
  x = std::fabs(x);
  if (x < 1.0) {
    return ((kSharpness + 2.0) * x - (kSharpness + 3.0)) * x * x + 1;
  }
  if (x < 2.0) {
    return (((x - 5) * x + 8) * x - 4) * kSharpness;
  }
  return 0.0;
}

/// The inputs that one output is a weighted sum of.
struct Taps {
  std::int64_t first = 0;
  std::vector<std::int32_t> weights;  // fixed point
};

std::vector<Taps> taps_of(std::int64_t inputs, std::int64_t outputs) {
  const double scale = static_cast<double>(inputs) / static_cast<double>(outputs);
  const double stretch = std::max(scale, 1.0);  // antialiasing: a wider filter when shrinking
  const double support = 2.0 * stretch;
  std::vector<Taps> all(static_cast<std::size_t>(outputs));
  for (std::int64_t out = 0; out < outputs; ++out) {
    const double centre = (static_cast<double>(out) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(centre - support + 0.5));
    const auto last =
        std::min<std::int64_t>(inputs, static_cast<std::int64_t>(centre + support + 0.5));
    std::vector<double> weights;
    double sum = 0.0;
    for (std::int64_t i = 0; i < last - first; ++i) {
      weights.push_back(bicubic((static_cast<double>(i + first) - centre + 0.5) * (1.0 / stretch)));
      sum += weights.back();
    }
    Taps& taps = all[static_cast<std::size_t>(out)];
    taps.first = first;
    for (const double weight : weights) {
      const double fixed = (sum != 0.0 ? weight / sum : weight) * (1 << kPrecision);
      taps.weights.push_back(static_cast<std::int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5));
    }
  }
  return all;
}

/// One output: `step` bytes from input to input.
std::uint8_t weigh(const std::uint8_t* from, std::int64_t step, const Taps& taps) {
  std::int32_t sum = 1 << (kPrecision - 1);
  for (const std::int32_t weight : taps.weights) {
    sum += *from * weight;
    from += step;
  }
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecision, 0, 255));
}

Image resample_width(const Image& image, std::int64_t width) {
  const std::vector<Taps> taps = taps_of(image.width, width);
  Image out{.width = width, .height = image.height, .rgb = {}};
  out.rgb.reserve(static_cast<std::size_t>(width * image.height * 3));
  for (std::int64_t y = 0; y < image.height; ++y) {
    for (const Taps& each : taps) {
      const std::uint8_t* from = image.rgb.data() + (y * image.width + each.first) * 3;
      for (std::int64_t c = 0; c < 3; ++c) {
        out.rgb.push_back(weigh(from + c, 3, each));
      }
    }
  }
  return out;
}

Image resample_height(const Image& image, std::int64_t height) {
  const std::vector<Taps> taps = taps_of(image.height, height);
  Image out{.width = image.width, .height = height, .rgb = {}};
  out.rgb.reserve(static_cast<std::size_t>(image.width * height * 3));
  const std::int64_t row = image.width * 3;
  for (const Taps& each : taps) {
    const std::uint8_t* from = image.rgb.data() + each.first * row;
    for (std::int64_t x = 0; x < row; ++x) {
      out.rgb.push_back(weigh(from + x, row, each));
    }
  }
  return out;
}

/// Which pass comes first: each rounds and clips to 8 bits, so that it matters.  As Pillow 13 does,
/// found by comparing its results with both orders (tests/io/image/make.py); before it, columns
/// were always first.
bool height_first(const Image& image, std::int64_t width, std::int64_t height) {
  return height < image.height && image.height - height > 2 * (image.width - width);
}

}  // namespace

Image resample_bicubic(const Image& image, std::int64_t width, std::int64_t height) {
  if (image.width == width && image.height == height) {
    return image;
  }
  if (image.width == width) {
    return resample_height(image, height);
  }
  if (image.height == height) {
    return resample_width(image, width);
  }
  return height_first(image, width, height) ? resample_width(resample_height(image, height), width)
                                            : resample_height(resample_width(image, width), height);
}

}  // namespace mg
