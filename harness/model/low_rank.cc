#include "harness/model/low_rank.h"

#include <cmath>
#include <cstring>

#include "kernels/core/vec4.h"

namespace mg {
namespace {

constexpr std::int64_t kPanel = PackedRight::kPanel;

/// The first `count` of eight values times `scale`.
[[gnu::always_inline]] inline void store_row(const Vec4& low, const Vec4& high, double scale,
                                             double* out, std::int64_t count) {
  if (count == kPanel) {
    store4(low * scale, out);
    store4(high * scale, out + 4);
    return;
  }
  double both[kPanel];
  store4(low * scale, both);
  store4(high * scale, both + 4);
  std::memcpy(out, both, static_cast<std::size_t>(count) * sizeof(double));
}

[[gnu::always_inline]] inline void add_products(double l, const Vec4& p_low, const Vec4& p_high,
                                                Vec4& low, Vec4& high) {
  low += p_low * l;
  high += p_high * l;
}

/// Four rows of one panel.  Named sums instead of an array: g++ 12 clears and copies an array in
/// memory, which takes as long as the products.
[[gnu::always_inline]] inline void panel_four_rows(const double* left, std::int64_t rank,
                                                   const double* panel, double scale, double* out,
                                                   std::int64_t stride, std::int64_t count) {
  Vec4 low0 = {};
  Vec4 low1 = {};
  Vec4 low2 = {};
  Vec4 low3 = {};
  Vec4 high0 = {};
  Vec4 high1 = {};
  Vec4 high2 = {};
  Vec4 high3 = {};
  for (std::int64_t k = 0; k < rank; ++k) {
    Vec4 p_low;
    Vec4 p_high;
    load4(panel + k * kPanel, p_low);
    load4(panel + k * kPanel + 4, p_high);
    add_products(left[k], p_low, p_high, low0, high0);
    add_products(left[rank + k], p_low, p_high, low1, high1);
    add_products(left[2 * rank + k], p_low, p_high, low2, high2);
    add_products(left[3 * rank + k], p_low, p_high, low3, high3);
  }
  store_row(low0, high0, scale, out, count);
  store_row(low1, high1, scale, out + stride, count);
  store_row(low2, high2, scale, out + 2 * stride, count);
  store_row(low3, high3, scale, out + 3 * stride, count);
}

[[gnu::always_inline]] inline void panel_one_row(const double* left, std::int64_t rank,
                                                 const double* panel, double scale, double* out,
                                                 std::int64_t count) {
  Vec4 low = {};
  Vec4 high = {};
  for (std::int64_t k = 0; k < rank; ++k) {
    Vec4 p_low;
    Vec4 p_high;
    load4(panel + k * kPanel, p_low);
    load4(panel + k * kPanel + 4, p_high);
    add_products(left[k], p_low, p_high, low, high);
  }
  store_row(low, high, scale, out, count);
}

[[gnu::always_inline]] inline void multiply(const double* left, std::int64_t rows,
                                            const PackedRight& right, double scale, double* out) {
  const std::int64_t rank = right.rank();
  const std::int64_t cols = right.cols();
  // Panels outside: one panel (rank * 64 bytes) stays in the first-level cache while all rows meet
  // it.
  for (std::int64_t j = 0; j < cols; j += kPanel) {
    const double* panel = right.panels() + j * rank;
    const std::int64_t count = cols - j < kPanel ? cols - j : kPanel;
    std::int64_t i = 0;
    for (; i + 4 <= rows; i += 4) {
      panel_four_rows(left + i * rank, rank, panel, scale, out + i * cols + j, cols, count);
    }
    for (; i < rows; ++i) {
      panel_one_row(left + i * rank, rank, panel, scale, out + i * cols + j, count);
    }
  }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void multiply_avx2(const double* left, std::int64_t rows,
                                                   const PackedRight& right, double scale,
                                                   double* out) {
  multiply(left, rows, right, scale, out);
}
#endif

}  // namespace

PackedRight::PackedRight(std::int64_t rank, std::int64_t cols)
    : rank_(rank),
      cols_(cols),
      panels_(static_cast<std::size_t>((cols + kPanel - 1) / kPanel * kPanel * rank)) {}

void PackedRight::make_absolute() {
  for (double& value : panels_) {
    value = std::fabs(value);
  }
}

void multiply_low_rank(const double* left, std::int64_t rows, const PackedRight& right,
                       double scale, double* out) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) {
    multiply_avx2(left, rows, right, scale, out);
    return;
  }
#endif
  multiply(left, rows, right, scale, out);
}

}  // namespace mg
