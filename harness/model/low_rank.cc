#include "harness/model/low_rank.h"

#include <cmath>
#include <cstring>

#include "kernels/core/vec4.h"

namespace mg {
namespace {

constexpr std::int64_t kPanel = PackedRight::kPanel;

// kRows rows of one panel of eight columns; `count` of the columns are stored.
template <int kRows>
[[gnu::always_inline]] inline void panel_rows(const double* left, std::int64_t rank,
                                              const double* panel, double scale, double* out,
                                              std::int64_t stride, std::int64_t count) {
  Vec4 low[kRows] = {};
  Vec4 high[kRows] = {};
  for (std::int64_t k = 0; k < rank; ++k) {
    Vec4 p_low;
    Vec4 p_high;
    load4(panel + k * kPanel, p_low);
    load4(panel + k * kPanel + 4, p_high);
    for (int i = 0; i < kRows; ++i) {
      const double l = left[i * rank + k];
      low[i] += p_low * l;
      high[i] += p_high * l;
    }
  }
  if (count == kPanel) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      store4(low[i] * scale, out + i * stride);
      store4(high[i] * scale, out + i * stride + 4);
    }
    return;
  }
  for (int i = 0; i < kRows; ++i) {
    double both[kPanel];
    store4(low[i] * scale, both);
    store4(high[i] * scale, both + 4);
    std::memcpy(out + i * stride, both, static_cast<std::size_t>(count) * sizeof(double));
  }
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
      panel_rows<4>(left + i * rank, rank, panel, scale, out + i * cols + j, cols, count);
    }
    for (; i < rows; ++i) {
      panel_rows<1>(left + i * rank, rank, panel, scale, out + i * cols + j, cols, count);
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
