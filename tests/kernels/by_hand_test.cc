// Every backend, the oracle above all, on cases whose answers can be read off by eye.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "kernels/core/error.h"
#include "kernels/core/half.h"
#include "kernels/registry.h"

namespace mg {
namespace {

TensorView f32(const std::vector<float>& values, Shape shape) {
  return {DType::kF32, std::move(shape), reinterpret_cast<const std::byte*>(values.data()),
          values.size() * sizeof(float)};
}

testing::Matcher<std::vector<float>> Floats(const std::vector<float>& expected) {
  return testing::Pointwise(testing::FloatEq(), expected);
}

class ByHandTest : public testing::TestWithParam<std::string> {
 protected:
  Mat put(const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
    buffers_.push_back(backend_->allocate(rows * cols));
    const Mat mat = whole(*buffers_.back(), rows, cols);
    backend_->upload(values, mat);
    return mat;
  }
  std::vector<float> get(const Mat& x) {
    std::vector<float> staging;
    const auto span = backend_->read(x, staging);
    return {span.begin(), span.end()};
  }
  void use(Arithmetic arithmetic) {
    backend_ = make_backend(GetParam(), {.arithmetic = arithmetic, .pool = &pool_, .isa = ""});
  }
  void SetUp() override {
    try {
      use(Arithmetic::kExact);
    } catch (const Error& error) {
      if (error.parts().code != "backend.unavailable") {
        throw;
      }
      GTEST_SKIP() << error.what();
    }
  }

  ThreadPool pool_{1};
  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

TEST_P(ByHandTest, LinearIsXTimesWTransposedPlusBias) {
  const std::vector<float> w{1, 2, 3, 4, 5, 6};  // [3, 2]
  const std::vector<float> bias{10, 20, 30};
  const Mat x = put({1, 0, 0, 1}, 2, 2);
  const Mat out = put(std::vector<float>(6), 2, 3);
  backend_->linear(x, {f32(w, {3, 2}), false}, f32(bias, {3}), out);
  EXPECT_THAT(get(out), Floats({11, 23, 35, 12, 24, 36}));
}

TEST_P(ByHandTest, TransposedWeightIsInputsByOutputs) {
  const std::vector<float> w{1, 2, 3, 4, 5, 6};  // [2, 3]
  const Mat x = put({1, 10}, 1, 2);
  const Mat out = put(std::vector<float>(3), 1, 3);
  backend_->linear(x, {f32(w, {2, 3}), true}, {}, out);
  EXPECT_THAT(get(out), Floats({41, 52, 63}));
}

TEST_P(ByHandTest, AttentionToOneHotKeyReturnsItsValue) {
  // Query 1 matches key 1 (score 1000) and key 0 not at all; query 0 sees key 0 only.
  const Mat q = put({0, 1, 0, 1}, 2, 2);
  const Mat k = put({1, 0, 0, 1}, 2, 2);
  const Mat v = put({3, 4, 5, 6}, 2, 2);
  const Mat out = put(std::vector<float>(4), 2, 2);
  const AttentionSegment all{0, 2, 0, 2};
  backend_->attention(q, k, v, {&all, 1}, {.heads = 1, .kv_heads = 1, .head_dim = 2, .scale = 1000},
                      out);
  EXPECT_THAT(get(out), Floats({3, 4, 5, 6}));
}

TEST_P(ByHandTest, WindowOfOneSeesOnlyItself) {
  const Mat q = put({1, 1, 1}, 3, 1);
  const Mat v = put({7, 8, 9}, 3, 1);
  const Mat out = put({0, 0, 0}, 3, 1);
  const AttentionSegment all{0, 3, 0, 3};
  backend_->attention(
      q, q, v, {&all, 1},
      {.heads = 1, .kv_heads = 1, .head_dim = 1, .scale = 1, .softcap = 0, .window = 1}, out);
  EXPECT_THAT(get(out), Floats({7, 8, 9}));
}

TEST_P(ByHandTest, RopeTurnsByTheAngle) {
  const Mat x = put({1, 0, 0, 2}, 1, 4);  // two heads of two
  const Mat cos = put({0}, 1, 1);
  const Mat sin = put({1}, 1, 1);
  backend_->rope(cos, sin, 2, 2, x);
  EXPECT_THAT(get(x), Floats({0, 1, -2, 0}));
}

TEST_P(ByHandTest, RmsNormOfEqualElementsIsTheirSign) {
  const std::vector<float> weight{2, 3};
  const Mat x = put({-5, -5, 4, -4}, 2, 2);
  backend_->rms_norm(x, f32(weight, {2}), 0.0, 0.0, 1, x);
  EXPECT_THAT(get(x), Floats({-2, -3, 2, -3}));
}

TEST_P(ByHandTest, LayerNormOfTwoElementsIsPlusMinusOne) {
  const std::vector<float> weight{2, 2};
  const std::vector<float> bias{1, 1};
  const Mat x = put({3, 7}, 1, 2);
  backend_->layer_norm(x, f32(weight, {2}), f32(bias, {2}), 0.0, x);
  EXPECT_THAT(get(x), Floats({-1, 3}));
}

TEST_P(ByHandTest, Fp16LowRankRoundsEveryStep) {
  // 1 + 2^-11 is a tie and rounds down to 1 in FP16; kept exact it would survive the addition.
  use(Arithmetic::kFp16);
  const std::vector<float> a{1.0F, 0x1p-11F};  // [1, 2]
  const std::vector<float> b{1.0F};            // [1, 1]
  const Mat x = put({1, 1}, 1, 2);
  const Mat y = put({-1}, 1, 1);
  backend_->low_rank(x, f32(a, {1, 2}), f32(b, {1, 1}), 1.0, y);
  EXPECT_THAT(get(y), Floats({0}));
}

TEST_P(ByHandTest, RouterTakesTheLowerIndexOfATie) {
  const RoutedExperts routed =
      backend_->route_top_k(put({0, static_cast<float>(std::numbers::ln2), 0}, 1, 3), 2, true);
  EXPECT_EQ(routed.expert, (std::vector<std::int32_t>{1, 0}));
  EXPECT_FLOAT_EQ(routed.weight[0], 2.0F / 3.0F);
  EXPECT_FLOAT_EQ(routed.weight[1], 1.0F / 3.0F);
}

TEST_P(ByHandTest, ScatterAddsScaledRows) {
  const std::vector<std::int32_t> rows{2, 0};
  const std::vector<float> factors{10, 100};
  const Mat x = put({1, 2}, 2, 1);
  const Mat out = put({5, 6, 7}, 3, 1);
  backend_->scatter_add_rows(x, rows, factors, out);
  EXPECT_THAT(get(out), Floats({205, 6, 17}));
}

TEST_P(ByHandTest, EmbeddingLoraAddsTheColumnOfItsToken) {
  const std::vector<float> table{1, 2, 3, 4};  // [2, 2]
  const std::vector<float> a{5, 7};            // [1, 2]
  const std::vector<float> b{1, 10};           // [2, 1]
  const std::vector<std::int32_t> ids{1};
  const Mat out = put({0, 0}, 1, 2);
  backend_->embed(f32(table, {2, 2}), ids, 2.0, out);
  EXPECT_THAT(get(out), Floats({6, 8}));
  backend_->low_rank_embed(ids, f32(a, {1, 2}), f32(b, {2, 1}), 0.5, out);
  EXPECT_THAT(get(out), Floats({9.5, 43}));
}

INSTANTIATE_TEST_SUITE_P(Backends, ByHandTest, testing::ValuesIn(backend_names()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace mg
