#include "harness/lanes/drift.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace mg {
namespace {

constexpr std::int64_t kRowsPerTask = 64;
constexpr std::size_t kSums = 8;  // independent partial sums: a fixed order that still vectorises

struct Squares {
  double difference = 0;
  double reference = 0;
};

Squares squares_of_row(const float* subject, const float* reference, std::int64_t width) {
  std::array<double, kSums> difference{};
  std::array<double, kSums> norm{};
  std::int64_t i = 0;
  for (; i + static_cast<std::int64_t>(kSums) <= width; i += static_cast<std::int64_t>(kSums)) {
    for (std::size_t j = 0; j < kSums; ++j) {
      const double r = static_cast<double>(reference[i + static_cast<std::int64_t>(j)]);
      const double d = static_cast<double>(subject[i + static_cast<std::int64_t>(j)]) - r;
      difference[j] += d * d;
      norm[j] += r * r;
    }
  }
  for (; i < width; ++i) {
    const double r = static_cast<double>(reference[i]);
    const double d = static_cast<double>(subject[i]) - r;
    difference[0] += d * d;
    norm[0] += r * r;
  }
  Squares total;
  for (std::size_t j = 0; j < kSums; ++j) {
    total.difference += difference[j];
    total.reference += norm[j];
  }
  return total;
}

bool all_finite(const float* values, std::int64_t width) {
  // By the exponent, as integers: a sum of floats would be one slow chain of additions.
  constexpr std::int32_t kInfinity = 0x7F800000;
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < width; ++i) {
    largest = std::max(largest, std::bit_cast<std::int32_t>(values[i]) & 0x7FFFFFFF);
  }
  return largest < kInfinity;
}

}  // namespace

double RowDrift::relative(std::int64_t begin, std::int64_t count) const {
  double d = 0;
  double r = 0;
  for (std::int64_t i = begin; i < begin + count; ++i) {
    d += difference[static_cast<std::size_t>(i)];
    r += reference[static_cast<std::size_t>(i)];
  }
  return d == 0.0 ? 0.0 : std::sqrt(d / r);
}

RowDrift row_drift(ThreadPool& pool, std::span<const float> subject,
                   std::span<const float> reference, std::int64_t width) {
  const auto rows = static_cast<std::int64_t>(reference.size()) / width;
  RowDrift drift;
  drift.difference.resize(static_cast<std::size_t>(rows));
  drift.reference.resize(static_cast<std::size_t>(rows));
  pool.for_chunks(rows, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const Squares squares =
          squares_of_row(subject.data() + row * width, reference.data() + row * width, width);
      drift.difference[static_cast<std::size_t>(row)] = squares.difference;
      drift.reference[static_cast<std::size_t>(row)] = squares.reference;
    }
  });
  return drift;
}

std::optional<std::pair<std::int64_t, std::int64_t>> non_finite_rows(ThreadPool& pool,
                                                                     std::span<const float> values,
                                                                     std::int64_t width) {
  const auto rows = static_cast<std::int64_t>(values.size()) / width;
  std::vector<std::uint8_t> bad(static_cast<std::size_t>(rows), 0);
  pool.for_chunks(rows, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      bad[static_cast<std::size_t>(row)] = all_finite(values.data() + row * width, width) ? 0 : 1;
    }
  });
  std::int64_t first = -1;
  std::int64_t count = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    if (bad[static_cast<std::size_t>(row)] != 0) {
      first = first < 0 ? row : first;
      ++count;
    }
  }
  if (count == 0) {
    return std::nullopt;
  }
  return std::pair{first, count};
}

}  // namespace mg
