#include "harness/bench/product_peak.h"

#include <algorithm>
#include <chrono>

namespace mg {
namespace {

constexpr std::int64_t kRows = 512;
constexpr std::int64_t kWidth = 2048;
constexpr std::uint16_t kWeight = 0x3000;  // 0.125 in FP16, 2^-31 in BF16

}  // namespace

ProductPeak::ProductPeak(Backend& backend)
    : backend_(backend),
      weights_(static_cast<std::size_t>(kWidth * kWidth), kWeight),
      x_(backend.allocate(kRows * kWidth)),
      out_(backend.allocate(kRows * kWidth)) {
  const std::vector<float> ones(static_cast<std::size_t>(kRows * kWidth), 1.0F);
  backend_.upload(ones, whole(*x_, kRows, kWidth));
  for (int i = 0; i < 3; ++i) {
    measure();
  }
}

void ProductPeak::measure() {
  // bf16 arithmetic takes its own type as it is and would round another first.
  const DType dtype = backend_.arithmetic() == Arithmetic::kBf16 ? DType::kBF16 : DType::kF16;
  const Weight weight{.values = {dtype,
                                 {kWidth, kWidth},
                                 reinterpret_cast<const std::byte*>(weights_.data()),
                                 weights_.size() * sizeof(std::uint16_t)}};
  const Mat out = whole(*out_, kRows, kWidth);
  const auto start = std::chrono::steady_clock::now();
  backend_.linear(whole(*x_, kRows, kWidth), weight, {}, out);
  backend_.read(out.row_range(0, 1), staging_);  // a device has finished then
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  flops_ = std::max(flops_, 2.0 * kRows * kWidth * kWidth / took.count());
}

}  // namespace mg
