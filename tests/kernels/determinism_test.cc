// What the cpu backend promises beyond the contract: the same bits for any number of threads, any
// split of the rows into calls, step by step or in one pass, and for every instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/contract/conformance/fixture.h"
#include "tests/kernels/subjects.h"

namespace mg {
namespace {

using contract::Random;
using contract::random_tensor;
using contract::StoredTensor;

class DeterminismTest : public testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    if (make() == nullptr) {
      GTEST_SKIP() << "this CPU lacks " << GetParam().isa;
    }
  }
  std::unique_ptr<Backend> make(Arithmetic arithmetic = Arithmetic::kExact) {
    return make_subject(GetParam(), arithmetic, pool_);
  }

  ThreadPool pool_{1};
};

std::vector<float> read(Backend& backend, const Mat& x) {
  std::vector<float> staging;
  const auto values = backend.read(x, staging);
  return {values.begin(), values.end()};
}

/// A matrix with a buffer of its own.
struct Owned {
  Owned(Backend& backend, const std::vector<float>& values, std::int64_t rows, std::int64_t cols)
      : buffer(backend.allocate(rows * cols)), mat(whole(*buffer, rows, cols)) {
    backend.upload(values, mat);
  }
  std::unique_ptr<Buffer> buffer;
  Mat mat;
};

/// x W^T + b, the rows cut into calls of the given sizes (the rest in one).
std::vector<float> linear_in_parts(Backend& backend, const std::vector<float>& x, std::int64_t rows,
                                   const StoredTensor& w, const StoredTensor& bias,
                                   std::vector<std::int64_t> parts) {
  const std::int64_t inputs = w.shape[1];
  const std::int64_t outputs = w.shape[0];
  const Owned in(backend, x, rows, inputs);
  const Owned out(backend, std::vector<float>(static_cast<std::size_t>(rows * outputs)), rows,
                  outputs);
  std::int64_t begin = 0;
  parts.push_back(rows);
  for (const std::int64_t part : parts) {
    const std::int64_t count = std::min(part, rows - begin);
    backend.linear(in.mat.row_range(begin, count), {w.view(), false}, bias.view(),
                   out.mat.row_range(begin, count));
    begin += count;
  }
  return read(backend, out.mat);
}

TEST_P(DeterminismTest, ARowOfLinearDoesNotDependOnTheRowsBesideIt) {
  // Every remainder of the register tiles (4, 6, 12 rows), the border between few and many rows,
  // single rows.
  const std::vector<std::vector<std::int64_t>> cuts = {{1},
                                                       {2},
                                                       {3},
                                                       {5},
                                                       {6},
                                                       {7},
                                                       {8},
                                                       {11},
                                                       {12},
                                                       {13},
                                                       {15},
                                                       {16},
                                                       {17},
                                                       {23},
                                                       {24},
                                                       {25},
                                                       {31},
                                                       {33},
                                                       {47},
                                                       {64},
                                                       {97},
                                                       {1, 1, 1, 1, 1},
                                                       {16, 17, 18, 19},
                                                       {50, 1, 50, 1}};
  for (const DType dtype : {DType::kF16, DType::kF32}) {
    for (const auto& [inputs, outputs] :
         {std::pair<std::int64_t, std::int64_t>{300, 70}, {576, 33}}) {
      constexpr std::int64_t kRows = 131;
      Random random(7);
      const std::vector<float> x = random.normals(kRows * inputs);
      const StoredTensor w = random_tensor(random, dtype, {outputs, inputs}, 0.1);
      const StoredTensor bias = random_tensor(random, dtype, {outputs}, 1.0);
      const auto backend = make();
      const std::vector<float> once = linear_in_parts(*backend, x, kRows, w, bias, {});
      for (const auto& parts : cuts) {
        EXPECT_EQ(linear_in_parts(*backend, x, kRows, w, bias, parts), once)
            << "first part of " << parts[0] << " rows";
      }
    }
  }
}

TEST_P(DeterminismTest, BlocksOfAProductChangeNoBit) {
  // Up to 384 rows are one block; three blocks of k; more columns than one block, and no whole
  // number of panels.
  constexpr std::int64_t kRows = 400;
  constexpr std::int64_t kInputs = 700;
  constexpr std::int64_t kOutputs = 2090;
  Random random(8);
  const std::vector<float> x = random.normals(kRows * kInputs);
  const StoredTensor w = random_tensor(random, DType::kF16, {kOutputs, kInputs}, 0.1);
  const StoredTensor bias = random_tensor(random, DType::kF16, {kOutputs}, 1.0);
  const auto backend = make();
  const std::vector<float> once = linear_in_parts(*backend, x, kRows, w, bias, {});
  EXPECT_EQ(linear_in_parts(*backend, x, kRows, w, bias, {1, 199}), once);
}

/// Maps of the same x: every stored type, a stored transpose, and no whole number of panels.
struct SeveralMaps {
  explicit SeveralMaps(std::int64_t inputs) {
    Random random(11);
    const auto add = [&](DType dtype, std::int64_t outputs, bool turned) {
      transposed.push_back(turned);
      const std::vector<std::int64_t> shape =
          turned ? std::vector{inputs, outputs} : std::vector{outputs, inputs};
      weights.push_back(random_tensor(random, dtype, shape, 0.1));
      biases.push_back(random_tensor(random, dtype, {outputs}, 1.0));
    };
    add(DType::kF16, 70, false);
    add(DType::kF16, 21, false);
    add(DType::kBF16, 33, false);
    add(DType::kF32, 40, false);
    add(DType::kF16, 19, true);
    add(DType::kF16, 300, false);
  }

  std::vector<float> run(Backend& backend, Mat x, bool at_once) const {
    std::vector<Owned> outs;
    std::vector<LinearMap> maps;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const std::int64_t outputs = biases[i].shape[0];
      const std::vector<float> nothing(static_cast<std::size_t>(x.rows * outputs), 7.0F);
      outs.emplace_back(backend, nothing, x.rows, outputs);
      // The middle one goes without a bias.
      maps.push_back({{weights[i].view(), transposed[i]},
                      i == 2 ? TensorView{} : biases[i].view(),
                      outs.back().mat});
    }
    if (at_once) {
      backend.linear_maps(x, maps);
    } else {
      for (const LinearMap& map : maps) {
        backend.linear(x, map.weight, map.bias, map.out);
      }
    }
    std::vector<float> all;
    for (const Owned& out : outs) {
      const std::vector<float> values = read(backend, out.mat);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

  std::vector<StoredTensor> weights;
  std::vector<StoredTensor> biases;
  std::vector<bool> transposed;
};

TEST_P(DeterminismTest, MapsOfTheSameRowsGiveTheBitsOfEachByItself) {
  constexpr std::int64_t kInputs = 603;  // three blocks of k, the last one odd
  const SeveralMaps maps(kInputs);
  for (const Arithmetic arithmetic : {Arithmetic::kExact, Arithmetic::kFp16}) {
    for (const std::int64_t rows : {1, 4, 7, 40}) {
      Random random(12);
      const std::vector<float> values = random.normals(rows * kInputs);
      const auto alone = make(arithmetic);
      const Owned x(*alone, values, rows, kInputs);
      const std::vector<float> expected = maps.run(*alone, x.mat, false);
      for (const int threads : {1, 2, 3}) {
        ThreadPool pool(threads);
        const auto backend = make_subject(GetParam(), arithmetic, pool);
        const Owned same(*backend, values, rows, kInputs);
        EXPECT_EQ(maps.run(*backend, same.mat, true), expected)
            << rows << " rows, " << threads << " threads";
      }
    }
  }
}

TEST_P(DeterminismTest, LowRankDoesNotDependOnTheSplit) {
  constexpr std::int64_t kRows = 61;
  constexpr std::int64_t kInputs = 290;
  constexpr std::int64_t kRank = 13;
  constexpr std::int64_t kOutputs = 50;
  Random random(8);
  const std::vector<float> x = random.normals(kRows * kInputs);
  const std::vector<float> y = random.normals(kRows * kOutputs);
  const StoredTensor a = random_tensor(random, DType::kF16, {kRank, kInputs}, 0.1);
  const StoredTensor b = random_tensor(random, DType::kF16, {kOutputs, kRank}, 0.1);
  const auto backend = make();
  const Owned in(*backend, x, kRows, kInputs);
  const auto run = [&](std::int64_t part) {
    const Owned out(*backend, y, kRows, kOutputs);
    for (std::int64_t begin = 0; begin < kRows; begin += part) {
      const std::int64_t count = std::min(part, kRows - begin);
      backend->low_rank(in.mat.row_range(begin, count), a.view(), b.view(), 0.7,
                        out.mat.row_range(begin, count));
    }
    return read(*backend, out.mat);
  };
  const std::vector<float> once = run(kRows);
  for (const std::int64_t part : {1, 2, 5, 12, 13, 16, 30}) {
    EXPECT_EQ(run(part), once) << part;
  }
}

TEST_P(DeterminismTest, AttentionStepByStepEqualsOnePass) {
  constexpr std::int64_t kTokens = 290;
  AttentionParams params;
  params.heads = 6;
  params.kv_heads = 2;
  params.head_dim = 24;
  params.scale = 0.2;
  Random random(9);
  const std::vector<float> q = random.normals(kTokens * params.heads * params.head_dim);
  const std::vector<float> k = random.normals(kTokens * params.kv_heads * params.head_dim);
  const std::vector<float> v = random.normals(kTokens * params.kv_heads * params.head_dim);
  for (const std::int64_t window : {0, 40, 150}) {
    params.window = window;
    const auto backend = make();
    const Owned queries(*backend, q, kTokens, params.heads * params.head_dim);
    const Owned keys(*backend, k, kTokens, params.kv_heads * params.head_dim);
    const Owned values(*backend, v, kTokens, params.kv_heads * params.head_dim);
    const auto run = [&](std::int64_t part) {
      const Owned out(*backend, q, kTokens, params.heads * params.head_dim);
      for (std::int64_t begin = 0; begin < kTokens; begin += part) {
        const std::int64_t count = std::min(part, kTokens - begin);
        const AttentionSegment chunk{begin, count, 0, begin + count};
        backend->attention(queries.mat, keys.mat, values.mat, {&chunk, 1}, params, out.mat);
      }
      return read(*backend, out.mat);
    };
    const std::vector<float> once = run(kTokens);
    for (const std::int64_t part : {1, 2, 7, 32, 128, 129, 200}) {
      EXPECT_EQ(run(part), once) << "window " << window << ", chunks of " << part;
    }
  }
}

/// A little of everything whose work is shared out over threads, in one arithmetic.
std::vector<float> small_model(Backend& backend) {
  constexpr std::int64_t kTokens = 203;
  constexpr std::int64_t kHidden = 96;
  Random random(10);
  const Owned x(backend, random.normals(kTokens * kHidden), kTokens, kHidden);
  const Owned q(backend, random.normals(kTokens * kHidden), kTokens, kHidden);
  const Owned k(backend, random.normals(kTokens * 32), kTokens, 32);
  const Owned v(backend, random.normals(kTokens * 32), kTokens, 32);
  const Owned wide(backend, random.normals(kTokens * 520), kTokens, 520);
  const Owned wide2(backend, random.normals(kTokens * 520), kTokens, 520);
  const StoredTensor norm = random_tensor(random, DType::kBF16, {kHidden}, 1.0);
  const StoredTensor up = random_tensor(random, DType::kBF16, {520, kHidden}, 0.1);
  const StoredTensor down = random_tensor(random, DType::kBF16, {kHidden, 520}, 0.1);
  const StoredTensor a = random_tensor(random, DType::kF32, {8, kHidden}, 0.1);
  const StoredTensor b = random_tensor(random, DType::kF32, {520, 8}, 0.1);
  AttentionParams params;
  params.heads = 6;
  params.kv_heads = 2;
  params.head_dim = 16;
  params.scale = 0.25;
  const std::vector<AttentionSegment> segments = {{0, 50, 0, 50}, {50, 153, 50, 153}};
  backend.rms_norm(x.mat, norm.view(), 1e-6, 0, 1, x.mat);
  backend.attention(q.mat, k.mat, v.mat, segments, params, q.mat.row_range(0, kTokens));
  backend.add(q.mat, x.mat);
  backend.layer_norm(x.mat, norm.view(), norm.view(), 1e-6, x.mat);
  backend.linear(x.mat, {up.view(), false}, {}, wide.mat);
  backend.low_rank(x.mat, a.view(), b.view(), 2.0, wide.mat);
  for (const ActivationKind kind :
       {ActivationKind::kSilu, ActivationKind::kGeluTanh, ActivationKind::kGeluErf}) {
    backend.gated_activation(kind, wide.mat, wide2.mat, wide.mat);
  }
  backend.softcap(20.0, wide.mat);
  backend.linear(wide.mat, {down.view(), false}, {}, x.mat);
  return read(backend, x.mat);
}

TEST_P(DeterminismTest, ThreadsDoNotChangeABit) {
  for (const Arithmetic arithmetic : {Arithmetic::kExact, Arithmetic::kFp16, Arithmetic::kBf16}) {
    const std::vector<float> alone = small_model(*make(arithmetic));
    for (const int threads : {2, 3, 7}) {
      ThreadPool pool(threads);
      EXPECT_EQ(small_model(*make_subject(GetParam(), arithmetic, pool)), alone) << threads;
    }
  }
}

TEST_P(DeterminismTest, EveryInstructionSetGivesTheSameBits) {
  const Subject portable{"cpu", "portable"};
  for (const Arithmetic arithmetic : {Arithmetic::kExact, Arithmetic::kFp16, Arithmetic::kBf16}) {
    EXPECT_EQ(small_model(*make(arithmetic)),
              small_model(*make_subject(portable, arithmetic, pool_)));
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, DeterminismTest,
                         testing::Values(Subject{"cpu", "portable"}, Subject{"cpu", "avx2"},
                                         Subject{"cpu", "avx512"}),
                         [](const auto& param) { return param.param.name(); });

}  // namespace
}  // namespace mg
