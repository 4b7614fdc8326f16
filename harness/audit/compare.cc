#include "harness/audit/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "kernels/core/rounding.h"

namespace mg {
namespace {

constexpr std::int64_t kChunk = 4096;

std::size_t width_of(DType dtype) {
  return static_cast<std::size_t>(dtype_bits(dtype) / 8);
}

/// Whether any 16-bit float has all exponent bits set (infinity or NaN).
bool has_non_finite_16(const std::byte* data, std::int64_t n, std::uint16_t exponent) {
  std::uint16_t words[kChunk];
  std::memcpy(words, data, static_cast<std::size_t>(n) * sizeof(std::uint16_t));
  std::uint16_t found = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    found = static_cast<std::uint16_t>(found | ((words[i] & exponent) == exponent ? 1U : 0U));
  }
  return found != 0;
}

bool has_non_finite_32(const std::byte* data, std::int64_t n) {
  std::uint32_t words[kChunk];
  std::memcpy(words, data, static_cast<std::size_t>(n) * sizeof(std::uint32_t));
  std::uint32_t found = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    found |= (words[i] & 0x7F800000U) == 0x7F800000U ? 1U : 0U;
  }
  return found != 0;
}

bool may_be_non_finite(DType dtype, const std::byte* data, std::int64_t n) {
  switch (dtype) {
    case DType::kF16:
      return has_non_finite_16(data, n, 0x7C00U);
    case DType::kBF16:
      return has_non_finite_16(data, n, 0x7F80U);
    case DType::kF32:
      return has_non_finite_32(data, n);
    default:
      return is_float(dtype);
  }
}

class Comparer {
 public:
  Comparer(const ExpectedBytes& expected, const TensorView& merged, CompareMeasure& out)
      : expected_(expected), merged_(merged), width_(width_of(merged.dtype)), out_(out) {}

  /// At most kChunk elements from flat index `at` of merged against those from `from` of `source`.
  void run(const TensorView& source, std::int64_t from, std::int64_t at, std::int64_t n) {
    const std::byte* actual = merged_.data + static_cast<std::size_t>(at) * width_;
    const std::byte* wanted = source.data + static_cast<std::size_t>(from) * width_of(source.dtype);
    if (source.dtype != merged_.dtype || expected_.via) {
      double wide[kChunk];
      widen_to_double(source.dtype, wanted, n, wide);
      if (expected_.via) {
        round_in_place(*expected_.via, wide, n);
      }
      converted_.resize(static_cast<std::size_t>(n) * width_);
      narrow_from_double(merged_.dtype, wide, n, converted_.data());
      wanted = converted_.data();
    }
    out_.elements += n;
    const bool equal = std::memcmp(actual, wanted, static_cast<std::size_t>(n) * width_) == 0;
    if (equal && !may_be_non_finite(merged_.dtype, actual, n)) {
      return;
    }
    if (!is_float(merged_.dtype)) {
      count_bytes(actual, wanted, at, n);
      return;
    }
    look(actual, wanted, at, n);
  }

 private:
  void count_bytes(const std::byte* actual, const std::byte* wanted, std::int64_t at,
                   std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      const std::size_t offset = static_cast<std::size_t>(i) * width_;
      if (std::memcmp(actual + offset, wanted + offset, width_) != 0) {
        ++out_.differing;
        sample(out_.samples, at + i, 0.0, 0.0);
      }
    }
  }

  void look(const std::byte* actual, const std::byte* wanted, std::int64_t at, std::int64_t n) {
    double m[kChunk];
    double e[kChunk];
    widen_to_double(merged_.dtype, actual, n, m);
    widen_to_double(merged_.dtype, wanted, n, e);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::size_t offset = static_cast<std::size_t>(i) * width_;
      const bool differs = std::memcmp(actual + offset, wanted + offset, width_) != 0;
      if (!std::isfinite(m[i])) {
        ++out_.non_finite;
        sample(out_.non_finite_samples, at + i, m[i], e[i]);
      }
      if (!std::isfinite(e[i])) {
        ++out_.expected_non_finite;
      }
      if (!differs) {
        continue;
      }
      ++out_.differing;
      sample(out_.samples, at + i, m[i], e[i]);
      if (std::isfinite(m[i]) && std::isfinite(e[i])) {
        out_.difference_square += (m[i] - e[i]) * (m[i] - e[i]);
        out_.expected_square += e[i] * e[i];
      }
    }
  }

  static void sample(std::vector<ElementSample>& samples, std::int64_t i, double m, double e) {
    if (samples.size() < TargetMeasure::kSamples) {
      samples.push_back({i, m, e});
    }
  }

  const ExpectedBytes& expected_;
  const TensorView& merged_;
  std::size_t width_;
  CompareMeasure& out_;
  std::vector<std::byte> converted_;
};

}  // namespace

void CompareMeasure::add(const CompareMeasure& later) {
  elements += later.elements;
  differing += later.differing;
  non_finite += later.non_finite;
  expected_non_finite += later.expected_non_finite;
  difference_square += later.difference_square;
  expected_square += later.expected_square;
  const auto append = [](std::vector<ElementSample>& to, const std::vector<ElementSample>& from) {
    for (const ElementSample& sample : from) {
      if (to.size() < TargetMeasure::kSamples) {
        to.push_back(sample);
      }
    }
  };
  append(samples, later.samples);
  append(non_finite_samples, later.non_finite_samples);
}

CompareMeasure compare_elements(const ExpectedBytes& expected, const TensorView& merged,
                                std::int64_t begin, std::int64_t end) {
  CompareMeasure out;
  Comparer comparer(expected, merged, out);
  const std::int64_t cols = merged.dim(0) == 0 ? 1 : merged.elements() / merged.dim(0);
  std::int64_t at = begin;
  while (at < end) {
    std::int64_t stop = std::min(end, at + kChunk);
    if (expected.rows.empty()) {
      comparer.run(expected.whole, at, at, stop - at);
      at = stop;
      continue;
    }
    const std::int64_t row = at / cols;
    stop = std::min(stop, (row + 1) * cols);
    const auto replaced = std::find(expected.rows.begin(), expected.rows.end(), row);
    if (replaced == expected.rows.end()) {
      comparer.run(expected.whole, at, at, stop - at);
    } else {
      const std::int64_t source = replaced - expected.rows.begin();
      comparer.run(expected.part, source * cols + at - row * cols, at, stop - at);
    }
    at = stop;
  }
  return out;
}

}  // namespace mg
