// DeltaRows against the definitions of docs/reference/failures.md, written out element by element
// in long double.
#include "harness/model/delta.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "kernels/core/convert.h"
#include "kernels/core/rounding.h"

namespace mg {
namespace {

// A tensor that owns its bytes, with values a 16-bit format can hold where asked.
struct Owned {
  std::vector<double> values;
  std::vector<std::byte> bytes;
  TensorView view;

  Owned() = default;
  Owned(DType dtype, Shape shape, double sigma, std::mt19937_64& random) {
    std::normal_distribution<double> normal(0.0, sigma);
    const auto n = static_cast<std::size_t>(element_count(shape).value());
    values.resize(n);
    for (double& value : values) {
      value = round_to(dtype, normal(random));
    }
    bytes.resize(n * static_cast<std::size_t>(dtype_bits(dtype) / 8));
    narrow_from_double(dtype, values.data(), static_cast<std::int64_t>(n), bytes.data());
    view = {.dtype = dtype, .shape = std::move(shape), .data = bytes.data(), .bytes = bytes.size()};
  }
  long double at(std::int64_t i) const { return values[static_cast<std::size_t>(i)]; }
};

struct Case {
  Case() = default;
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  Owned weight, a, b, magnitude, bias, base_bias;
  StoredTensor stored, stored_bias;
  AdapterModule module;
  AttachedDelta attached;

  void attach(double scale) {
    stored.view = weight.view;
    module.a = a.view;
    module.b = b.view;
    module.magnitude = magnitude.view;
    module.scale = scale;
    attached.target = &stored;
    attached.module = &module;
  }
};

std::vector<double> all_rows(const DeltaRows& delta, double scale = 1.0) {
  std::vector<double> out(static_cast<std::size_t>(delta.rows() * delta.cols()));
  delta.compute(0, delta.rows(), out.data(), scale);
  return out;
}

// Double sums of `rank` products against long double ones: (rank + 2) * 2^-53 of the sum of
// magnitudes, which is below 1 here; DoRA adds the norm's own error.  1e-13 covers both with room
// for no more than rounding.
void expect_near(const std::vector<double>& actual,
                 const std::function<long double(std::int64_t)>& expected) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], static_cast<double>(expected(static_cast<std::int64_t>(i))), 1e-13) << i;
  }
}

// Fills in place: `attached` points into the case.
void fill_linear(Case& c, DType adapter, std::mt19937_64& random, bool dora = false) {
  c.weight = Owned(DType::kF16, {13, 21}, 0.05, random);
  c.a = Owned(adapter, {4, 21}, 0.1, random);
  c.b = Owned(adapter, {13, 4}, 0.1, random);
  if (dora) {
    c.magnitude = Owned(adapter, {13}, 1.0, random);
  }
  c.attach(2.5);
}

long double product_of(const Case& c, std::int64_t i, std::int64_t j) {
  long double sum = 0;
  const std::int64_t rank = c.a.view.dim(0);
  const std::int64_t in = c.a.view.elements() / rank;
  for (std::int64_t k = 0; k < rank; ++k) {
    sum += c.b.at(i * rank + k) * c.a.at(k * in + j);
  }
  return sum * static_cast<long double>(c.module.scale);
}

TEST(DeltaRows, LinearIsScaleTimesBTimesA) {
  std::mt19937_64 random(1);
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    Case c;
    fill_linear(c, dtype, random);
    const DeltaRows delta(c.attached);
    ASSERT_EQ(delta.rows(), 13);
    ASSERT_EQ(delta.cols(), 21);
    expect_near(all_rows(delta), [&](std::int64_t n) { return product_of(c, n / 21, n % 21); });
    expect_near(all_rows(delta, -3.0),
                [&](std::int64_t n) { return -3.0L * product_of(c, n / 21, n % 21); });
  }
}

TEST(DeltaRows, BitsDoNotDependOnTheBlock) {
  std::mt19937_64 random(2);
  Case c;
  fill_linear(c, DType::kF32, random, true);
  const DeltaRows delta(c.attached);
  const std::vector<double> whole = all_rows(delta);
  for (const std::int64_t block : {1, 3, 5}) {
    std::vector<double> parts(whole.size());
    for (std::int64_t begin = 0; begin < 13; begin += block) {
      delta.compute(begin, std::min<std::int64_t>(13, begin + block),
                    parts.data() + static_cast<std::size_t>(begin * 21));
    }
    EXPECT_EQ(parts, whole) << block;
  }
}

TEST(DeltaRows, TransposedForConv1DAndEmbeddings) {
  std::mt19937_64 random(4);
  Case c;
  c.weight = Owned(DType::kBF16, {21, 13}, 0.05, random);
  c.a = Owned(DType::kF32, {4, 21}, 0.1, random);
  c.b = Owned(DType::kF32, {13, 4}, 0.1, random);
  c.attach(0.5);
  c.attached.transposed = true;
  const DeltaRows delta(c.attached);
  ASSERT_EQ(delta.rows(), 21);
  ASSERT_EQ(delta.cols(), 13);
  expect_near(all_rows(delta), [&](std::int64_t n) { return product_of(c, n % 13, n / 13); });
}

TEST(DeltaRows, ConvolutionIsTheFlattenedProduct) {
  std::mt19937_64 random(5);
  Case c;
  c.weight = Owned(DType::kF16, {6, 3, 2, 2}, 0.05, random);
  c.a = Owned(DType::kF32, {4, 3, 2, 2}, 0.1, random);
  c.b = Owned(DType::kF32, {6, 4, 1, 1}, 0.1, random);
  c.module.kind = LowRankKind::kConv;
  c.attach(2.0);
  const DeltaRows delta(c.attached);
  ASSERT_EQ(delta.cols(), 12);
  expect_near(all_rows(delta), [&](std::int64_t n) { return product_of(c, n / 12, n % 12); });
}

TEST(DeltaRows, DoraScalesEachOutputToItsMagnitude) {
  std::mt19937_64 random(6);
  for (const bool transposed : {false, true}) {
    Case c;
    fill_linear(c, DType::kF32, random, true);
    if (transposed) {
      c.weight = Owned(DType::kF16, {21, 13}, 0.05, random);
      c.attach(2.5);
      c.attached.transposed = true;
    }
    const DeltaRows delta(c.attached);
    ASSERT_EQ(delta.dora_by_row(), !transposed);
    for (const double scale : {1.0, 0.5}) {
      const auto updated = [&](std::int64_t out, std::int64_t in) {
        const std::int64_t at = transposed ? in * 13 + out : out * 21 + in;
        return c.weight.at(at) + static_cast<long double>(scale) * product_of(c, out, in);
      };
      std::vector<long double> norms(13);
      for (std::int64_t out = 0; out < 13; ++out) {
        long double square = 0;
        for (std::int64_t in = 0; in < 21; ++in) {
          square += updated(out, in) * updated(out, in);
        }
        norms[static_cast<std::size_t>(out)] = std::sqrt(square);
      }
      expect_near(all_rows(delta, scale), [&](std::int64_t n) {
        const std::int64_t out = transposed ? n % 13 : n / 21;
        const std::int64_t in = transposed ? n / 13 : n % 21;
        return c.magnitude.at(out) / norms[static_cast<std::size_t>(out)] * updated(out, in) -
               c.weight.at(n);
      });
    }
  }
}

// A [E*r, dA], B [dB, r*E]; expert e owns rows e*r.. of A and columns e, e+E, ... of B.
void fill_experts(Case& c, std::mt19937_64& random, bool transposed) {
  c.weight = Owned(DType::kBF16, transposed ? Shape{3, 10, 7} : Shape{3, 7, 10}, 0.05, random);
  c.a = Owned(DType::kF32, {3 * 2, 10}, 0.1, random);
  c.b = Owned(DType::kF32, {7, 2 * 3}, 0.1, random);
  c.module.kind = LowRankKind::kParameter;
  c.attach(2.0);
  c.attached.expert_count = 3;
  c.attached.transposed = transposed;
}

long double expert_product(const Case& c, std::int64_t e, std::int64_t i, std::int64_t j) {
  long double sum = 0;
  for (std::int64_t k = 0; k < 2; ++k) {
    sum += c.b.at(i * 6 + k * 3 + e) * c.a.at((e * 2 + k) * 10 + j);
  }
  return 2.0L * sum;
}

TEST(DeltaRows, FusedExpertsInBothLayouts) {
  std::mt19937_64 random(7);
  {
    Case c;
    fill_experts(c, random, false);
    const DeltaRows delta(c.attached);
    ASSERT_EQ(delta.rows(), 21);
    ASSERT_EQ(delta.cols(), 10);
    ASSERT_EQ(delta.rank(), 2);
    expect_near(all_rows(delta),
                [&](std::int64_t n) { return expert_product(c, n / 70, n / 10 % 7, n % 10); });
  }
  Case c;
  fill_experts(c, random, true);
  const DeltaRows delta(c.attached);
  ASSERT_EQ(delta.rows(), 30);
  ASSERT_EQ(delta.cols(), 7);
  expect_near(all_rows(delta),
              [&](std::int64_t n) { return expert_product(c, n / 70, n % 7, n / 7 % 10); });
}

TEST(DeltaRows, PartOfOneExpertOnSplitStorage) {
  std::mt19937_64 random(8);
  Case c;
  fill_experts(c, random, false);
  c.weight = Owned(DType::kBF16, {4, 10}, 0.05, random);  // rows 3..6 of expert 1
  c.attach(2.0);
  c.attached.expert = 1;
  c.attached.first_row = 3;
  const DeltaRows delta(c.attached);
  ASSERT_EQ(delta.rows(), 4);
  expect_near(all_rows(delta),
              [&](std::int64_t n) { return expert_product(c, 1, 3 + n / 10, n % 10); });
}

TEST(DeltaRows, BiasIsScaledToo) {
  std::mt19937_64 random(9);
  Case c;
  fill_linear(c, DType::kF32, random);
  c.bias = Owned(DType::kF32, {13}, 0.1, random);
  c.base_bias = Owned(DType::kF16, {13}, 0.1, random);
  c.stored_bias.view = c.base_bias.view;
  c.module.bias = c.bias.view;
  c.attached.target_bias = &c.stored_bias;
  const DeltaRows delta = DeltaRows::for_bias(c.attached);
  ASSERT_EQ(delta.rows(), 13);
  ASSERT_EQ(delta.cols(), 1);
  expect_near(all_rows(delta), [&](std::int64_t n) { return 2.5L * c.bias.at(n); });
}

TEST(DeltaRows, CastRoundsTheAdapterBeforeTheProduct) {
  std::mt19937_64 random(10);
  Case c;
  fill_linear(c, DType::kF32, random);
  const DeltaRows delta(c.attached, DType::kBF16);
  for (Owned* part : {&c.a, &c.b}) {
    for (double& value : part->values) {
      value = round_to(DType::kBF16, value);
    }
  }
  expect_near(all_rows(delta), [&](std::int64_t n) { return product_of(c, n / 21, n % 21); });
}

TEST(DeltaRows, MagnitudeIsTheSumOfAbsoluteProducts) {
  std::mt19937_64 random(11);
  for (const bool experts : {false, true}) {
    Case c;
    if (experts) {
      fill_experts(c, random, false);
    } else {
      fill_linear(c, DType::kF32, random);
    }
    const DeltaRows delta(c.attached);
    std::vector<double> out(static_cast<std::size_t>(delta.rows() * delta.cols()));
    delta.product_magnitude(0, delta.rows(), out.data());
    const std::int64_t cols = delta.cols();
    for (std::int64_t n = 0; n < delta.rows() * cols; ++n) {
      long double sum = 0;
      for (std::int64_t k = 0; k < delta.rank(); ++k) {
        const std::int64_t e = experts ? n / 70 : 0;
        const std::int64_t i = n / cols % (experts ? 7 : 13);
        const long double b = experts ? c.b.at(i * 6 + k * 3 + e) : c.b.at(i * 4 + k);
        const long double a = c.a.at((e * delta.rank() + k) * cols + n % cols);
        sum += std::fabs(a * b);
      }
      const double expected = static_cast<double>(sum) * c.module.scale;
      ASSERT_NEAR(out[static_cast<std::size_t>(n)], expected, 1e-14);
      ASSERT_NEAR(delta.product_magnitude_at(n / cols, n % cols), expected, 1e-14);
    }
  }
}

}  // namespace
}  // namespace mg
