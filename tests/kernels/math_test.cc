// exp, tanh, the activations and the emulated fused multiply-add of kernels/cpu/simd, per
// instruction set.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/core/half.h"
#include "kernels/cpu/simd/table.h"

namespace mg::cpu {
namespace {

using Function = void (*)(const float* x, float* out, std::int64_t n);

class MathTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    kernels_ = find_kernels(GetParam());
    if (kernels_ == nullptr) {
      GTEST_SKIP() << "this CPU lacks " << GetParam();
    }
  }
  const KernelTable* kernels_ = nullptr;
};

/// One FP32 pattern in 4016, evenly over both signs, subnormals, infinities and NaN: a million of
/// them.
std::vector<float> sampled_floats() {
  std::vector<float> x;
  for (std::uint64_t pattern = 0; pattern < 0x100000000ULL; pattern += 251 * 16) {
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(pattern)));
  }
  return x;
}

/// |actual - expected| in units of the last place of the FP32 next to `expected`.
double ulps(float actual, double expected) {
  const int exponent = std::max(std::ilogb(expected), -126);
  return std::fabs(static_cast<double>(actual) - expected) / std::ldexp(1.0, exponent - 23);
}

void expect_within(Function f, double (*exact)(double), double allowed) {
  const std::vector<float> x = sampled_floats();
  std::vector<float> y(x.size());
  f(x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  double worst = 0;
  float where = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = exact(static_cast<double>(x[i]));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(y[i])) << x[i];
    } else if (std::fabs(expected) > static_cast<double>(std::numeric_limits<float>::max())) {
      ASSERT_EQ(y[i], static_cast<float>(expected)) << x[i];
    } else if (expected != 0 && !(ulps(y[i], expected) <= worst)) {
      worst = ulps(y[i], expected);
      where = x[i];
    }
  }
  EXPECT_LE(worst, allowed) << "at " << where;
  testing::Test::RecordProperty("worst_ulps", std::to_string(worst));
}

TEST_P(MathTest, ExpIsWithinTwoUlps) {
  expect_within(
      kernels_->exp, [](double x) { return std::exp(x); }, 2.0);
}

TEST_P(MathTest, TanhIsWithinTwoUlps) {
  expect_within(
      kernels_->tanh, [](double x) { return std::tanh(x); }, 2.0);
}

TEST_P(MathTest, ExpOfZeroIsOneAndOfInfinitiesTheirLimits) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> x{0.0F, -0.0F, kInf, -kInf, 88.72283F, 88.72284F, -103.97F, -103.98F};
  std::vector<float> y(x.size());
  kernels_->exp(x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  EXPECT_EQ(y[0], 1.0F);
  EXPECT_EQ(y[1], 1.0F);
  EXPECT_EQ(y[2], kInf);
  EXPECT_EQ(y[3], 0.0F);
  EXPECT_TRUE(std::isfinite(y[4]));  // the largest argument with a finite result
  EXPECT_EQ(y[5], kInf);
  EXPECT_GT(y[6], 0.0F);
  EXPECT_EQ(y[7], 0.0F);
}

TEST_P(MathTest, FmaRoundsOnce) {
  contract::Random random(11);
  std::vector<float> a;
  std::vector<float> b;
  std::vector<float> c;
  for (int i = 0; i < 200000; ++i) {
    const auto any = [&] {
      return std::ldexp(static_cast<float>(random.uniform(-2, 2)),
                        static_cast<int>(random.below(40)) - 20);
    };
    a.push_back(any());
    b.push_back(any());
    // A third cancel the product all but its last bits, where a second rounding shows.
    const float product = a.back() * b.back();
    c.push_back(i % 3 == 0 ? any() : i % 3 == 1 ? -product : std::nextafter(-product, any()));
  }
  const std::vector<float> special{0.0F,
                                   -0.0F,
                                   std::numeric_limits<float>::infinity(),
                                   -std::numeric_limits<float>::infinity(),
                                   std::numeric_limits<float>::quiet_NaN(),
                                   std::numeric_limits<float>::max(),
                                   std::numeric_limits<float>::denorm_min(),
                                   1e-30F};
  for (const float x : special) {
    for (const float y : special) {
      for (const float z : special) {
        a.push_back(x);
        b.push_back(y);
        c.push_back(z);
      }
    }
  }
  std::vector<float> out(a.size());
  kernels_->fma(a.data(), b.data(), c.data(), out.data(), static_cast<std::int64_t>(a.size()));
  for (std::size_t i = 0; i < a.size(); ++i) {
    const float expected = std::fma(a[i], b[i], c[i]);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(out[i])) << a[i] << " * " << b[i] << " + " << c[i];
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::bit_cast<std::uint32_t>(expected))
          << a[i] << " * " << b[i] << " + " << c[i];
    }
  }
}

TEST_P(MathTest, RoundingEqualsTheScalarConversions) {
  std::vector<float> x = sampled_floats();
  for (std::uint32_t half = 0; half < 0x10000; ++half) {  // every FP16 value and the ties around it
    const float value = half_to_float(static_cast<std::uint16_t>(half));
    const float next = half_to_float(static_cast<std::uint16_t>(half + 1));
    x.push_back(value);
    x.push_back(value + (next - value) / 2);
  }
  for (const Rounding rounding : {Rounding::kF16, Rounding::kBf16}) {
    std::vector<float> y = x;
    kernels_->round(rounding, y.data(), static_cast<std::int64_t>(y.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float expected = rounding == Rounding::kF16 ? half_to_float(float_to_half(x[i]))
                                                        : bf16_to_float(float_to_bf16(x[i]));
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(y[i]));
      } else {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(y[i]), std::bit_cast<std::uint32_t>(expected))
            << x[i];
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, MathTest, testing::Values("portable", "avx2", "avx512"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace mg::cpu
