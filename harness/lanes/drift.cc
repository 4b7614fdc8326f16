#include "harness/lanes/drift.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/row_statistics.h"

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

std::optional<std::pair<std::int64_t, std::int64_t>> first_and_count(
    std::span<const std::uint8_t> bad) {
  const auto first = std::find(bad.begin(), bad.end(), 1);
  if (first == bad.end()) {
    return std::nullopt;
  }
  return std::pair{first - bad.begin(), std::count(first, bad.end(), 1)};
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
  return first_and_count(bad);
}

RowDrift HiddenStates::drift(const PlacedRows& subject, const PlacedRows& reference,
                             std::span<const std::int32_t> reference_rows) {
  RowStatistics* statistics = reference.backend->row_statistics();
  if (statistics != nullptr && statistics->reaches(subject.rows) &&
      statistics->reaches(reference.rows)) {
    std::vector<RowSquares> squares(static_cast<std::size_t>(subject.rows.rows));
    statistics->squares(subject.rows, reference.rows, reference_rows, squares);
    RowDrift drift;
    for (const RowSquares& row : squares) {
      drift.difference.push_back(row.difference);
      drift.reference.push_back(row.reference);
    }
    return drift;
  }
  const std::span<const float> values = subject.backend->read(subject.rows, subject_staging_);
  const std::span<const float> beside = reference.backend->read(reference.rows, reference_staging_);
  const std::int64_t width = subject.rows.cols;
  if (reference_rows.empty()) {
    return row_drift(pool_, values, beside, width);
  }
  std::vector<float> chosen;
  chosen.reserve(values.size());
  for (const std::int32_t row : reference_rows) {
    const auto first = beside.begin() + row * width;
    chosen.insert(chosen.end(), first, first + width);
  }
  return row_drift(pool_, values, chosen, width);
}

std::optional<std::pair<std::int64_t, std::int64_t>> HiddenStates::non_finite(const PlacedRows& x) {
  RowStatistics* statistics = x.backend->row_statistics();
  if (statistics == nullptr || !statistics->reaches(x.rows)) {
    return non_finite_rows(pool_, x.backend->read(x.rows, subject_staging_), x.rows.cols);
  }
  std::vector<RowSquares> squares(static_cast<std::size_t>(x.rows.rows));
  statistics->squares(x.rows, x.rows, {}, squares);
  std::vector<std::uint8_t> bad;
  for (const RowSquares& row : squares) {
    bad.push_back(std::isfinite(row.subject) ? 0 : 1);
  }
  return first_and_count(bad);
}

}  // namespace mg
