// The whole CUDA backend on the emulated machine, beyond what every backend's tests ask of it
// (those run here too: CMakeLists.txt): orders of threads and streams, little memory, machines
// without a device that will do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"
#include "kernels/row_statistics.h"
#include "tests/cuda_on_host/machine.h"

namespace mg {
namespace {

using contract::Random;
using contract::random_tensor;
using contract::StoredTensor;
using cuda_on_host::Settings;

class CudaBackendTest : public testing::Test {
 protected:
  void SetUp() override { cuda_on_host::reset({}); }
  void TearDown() override {
    EXPECT_THAT(cuda_on_host::take_failures(), testing::IsEmpty());
    EXPECT_EQ(cuda_on_host::counts().allocations, 0U) << "all memory was given back";
  }

  std::unique_ptr<Backend> make(Arithmetic arithmetic = Arithmetic::kExact) {
    return make_backend("cuda", {.arithmetic = arithmetic, .pool = &pool_, .isa = {}});
  }
  std::string refusal(const Settings& settings) {
    cuda_on_host::reset(settings);
    try {
      make();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInternal) << "exit code 4";
      return error.what();
    }
    return "";
  }

  ThreadPool pool_{2};
};

std::vector<float> read(Backend& backend, const Mat& x) {
  std::vector<float> staging;
  const auto values = backend.read(x, staging);
  return {values.begin(), values.end()};
}

struct Owned {
  Owned(Backend& backend, const std::vector<float>& values, std::int64_t rows, std::int64_t cols)
      : buffer(backend.allocate(rows * cols)), mat(whole(*buffer, rows, cols)) {
    backend.upload(values, mat);
  }
  std::unique_ptr<Buffer> buffer;
  Mat mat;
};

constexpr std::int64_t kHidden = 96;
constexpr std::int64_t kInner = 200;

/// Weights of a layer; announced or not.
struct Layer {
  explicit Layer(std::uint64_t seed) {
    Random random(seed);
    norm = random_tensor(random, DType::kBF16, {kHidden}, 1.0);
    up = random_tensor(random, DType::kBF16, {kInner, kHidden}, 0.1);
    down = random_tensor(random, DType::kF16, {kHidden, kInner}, 0.1);
    a = random_tensor(random, DType::kF32, {8, kHidden}, 0.1);
    b = random_tensor(random, DType::kF32, {kInner, 8}, 0.1);
  }
  std::vector<Weight> weights() const { return {{up.view(), false}, {down.view(), false}}; }
  StoredTensor norm, up, down, a, b;
};

/// A little of everything, over several layers as the forward pass announces them.
std::vector<float> small_model(Backend& backend, const std::vector<Layer>& layers, bool announced,
                               std::int64_t tokens = 70) {
  Random random(10);
  const Owned x(backend, random.normals(tokens * kHidden), tokens, kHidden);
  const Owned q(backend, random.normals(tokens * kHidden), tokens, kHidden);
  const Owned k(backend, random.normals(tokens * 32), tokens, 32);
  const Owned v(backend, random.normals(tokens * 32), tokens, 32);
  const Owned wide(backend, random.normals(tokens * kInner), tokens, kInner);
  AttentionParams params;
  params.heads = 6;
  params.kv_heads = 2;
  params.head_dim = 16;
  params.scale = 0.25;
  const std::vector<AttentionSegment> segments = {{0, 20, 0, 20},
                                                  {20, tokens - 20, 20, tokens - 20}};
  if (announced) {
    backend.prefetch(layers[0].weights());
  }
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const Layer& layer = layers[l];
    if (announced && l + 1 < layers.size()) {
      backend.prefetch(layers[l + 1].weights());
    }
    backend.rms_norm(x.mat, layer.norm.view(), 1e-6, 0, 1, x.mat);
    backend.attention(x.mat, k.mat, v.mat, segments, params, q.mat);
    backend.add(q.mat, x.mat);
    backend.layer_norm(x.mat, layer.norm.view(), layer.norm.view(), 1e-6, x.mat);
    backend.linear(x.mat, {layer.up.view(), false}, {}, wide.mat);
    backend.low_rank(x.mat, layer.a.view(), layer.b.view(), 2.0, wide.mat);
    backend.activation(ActivationKind::kSilu, wide.mat);
    backend.linear(wide.mat, {layer.down.view(), false}, {}, x.mat);
    if (announced) {
      backend.release(layer.weights());
    }
  }
  const RoutedExperts routed = backend.route_top_k(wide.mat, 3, true);
  std::vector<float> result = read(backend, x.mat);
  result.insert(result.end(), routed.weight.begin(), routed.weight.end());
  return result;
}

std::vector<Layer> layers(std::size_t count) {
  std::vector<Layer> all;
  for (std::size_t i = 0; i < count; ++i) {
    all.emplace_back(100 + i);
  }
  return all;
}

TEST_F(CudaBackendTest, NoOrderOfThreadsBlocksOrStreamsChangesABit) {
  const std::vector<Layer> model = layers(2);
  for (const Arithmetic arithmetic : {Arithmetic::kExact, Arithmetic::kFp16, Arithmetic::kBf16}) {
    std::vector<float> first;
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      cuda_on_host::reset({.seed = seed, .delayed = seed >= 2});
      const std::vector<float> bits = small_model(*make(arithmetic), model, seed % 2 == 0);
      first = first.empty() ? bits : first;
      EXPECT_EQ(bits, first) << "seed " << seed;
    }
  }
}

/// A vocabulary with ties, in which some entries are not finite.
std::vector<double> small_sweep(Backend& backend) {
  constexpr std::int64_t kRows = 3;
  constexpr std::int64_t kVocabulary = 700;
  Random random(12);
  std::vector<float> values = random.normals(2 * kRows * kVocabulary, 3.0);
  values[kVocabulary + 5] = values[kVocabulary];
  values[2 * kVocabulary + 300] = INFINITY;
  const Owned logits(backend, values, 2 * kRows, kVocabulary);
  const std::vector<Mat> lanes{logits.mat.row_range(0, kRows), logits.mat.row_range(kRows, kRows)};
  const std::vector<LanePair> pairs{{0, 1, -1}, {1, 0, 1}};
  const std::vector<std::int32_t> next{3, -1, 699};
  std::vector<LaneSweep> swept(2 * kRows);
  std::vector<PairSweep> compared(2 * kRows);
  backend.row_statistics()->sweep_logits(
      {.lanes = lanes, .vocabulary = kVocabulary, .pairs = pairs, .next_token = next}, swept,
      compared);
  std::vector<double> all;
  for (const LaneSweep& lane : swept) {
    all.insert(all.end(), std::begin(lane.scan.top_logit), std::end(lane.scan.top_logit));
    all.insert(all.end(), std::begin(lane.scan.top_id), std::end(lane.scan.top_id));
    all.push_back(static_cast<double>(lane.scan.non_finite));
    all.push_back(lane.scan.first_non_finite);
    all.push_back(lane.lse);
  }
  for (const PairSweep& pair : compared) {
    const PairSums& s = pair.sums;
    all.insert(all.end(), {s.kl, s.reverse_kl, s.js, s.tv, s.d, s.dd, s.d_max, s.d_min, s.rr, s.ss,
                           s.rs, s.x, s.y, s.xx, s.yy, s.xy, s.p_x, s.p_base_y});
    all.insert(all.end(), {static_cast<double>(pair.max_token), static_cast<double>(pair.min_token),
                           static_cast<double>(pair.before_first)});
  }
  return all;
}

TEST_F(CudaBackendTest, AResidualAndItsNormAreOneKernel) {
  const auto backend = make(Arithmetic::kFp16);
  Random random(3);
  const StoredTensor weight = random_tensor(random, DType::kF16, {kHidden}, 1.0);
  const Owned update(*backend, random.normals(4 * kHidden), 4, kHidden);
  const Owned hidden(*backend, random.normals(4 * kHidden), 4, kHidden);
  const Owned out(*backend, std::vector<float>(4 * kHidden), 4, kHidden);
  const auto kernels_of = [&](auto&& call) {
    const std::size_t before = cuda_on_host::counts().kernels;
    call();
    return cuda_on_host::counts().kernels - before;
  };
  EXPECT_EQ(kernels_of([&] {
              backend->add_rms_norm(update.mat, hidden.mat, weight.view(), 1e-6, 0, out.mat);
            }),
            1U);
  EXPECT_EQ(kernels_of([&] {
              backend->add_layer_norm(update.mat, hidden.mat, weight.view(), {}, 1e-6, out.mat);
            }),
            1U);
}

/// Every barrier the kernels pass, left out in turn: a kernel broken at that place.  Under some
/// order of threads its results differ, or the machine finds fault with it.
TEST_F(CudaBackendTest, NoBarrierCanBeLeftOut) {
  const std::vector<Layer> model = layers(1);
  const auto everything = [&](std::uint64_t seed, const std::string& left_out) {
    cuda_on_host::reset({.seed = seed});
    cuda_on_host::leave_out(left_out);
    const auto backend = make();
    const std::vector<float> floats = small_model(*backend, model, false, 160);
    std::vector<double> all(floats.begin(), floats.end());
    const std::vector<double> swept = small_sweep(*backend);
    all.insert(all.end(), swept.begin(), swept.end());
    return all;
  };
  const std::vector<double> sound = everything(0, "");
  const std::set<std::string> places = cuda_on_host::barriers();
  EXPECT_GE(places.size(), 7U);
  EXPECT_EQ(everything(1, ""), sound);
  for (const std::string& place : places) {
    bool noticed = false;
    for (std::uint64_t seed = 0; seed < 6 && !noticed; ++seed) {
      try {
        noticed = everything(seed, place) != sound;
      } catch (const cuda_on_host::Failure&) {
        noticed = true;
      }
      const std::vector<std::string> failures = cuda_on_host::take_failures();
      noticed = noticed || !failures.empty();
    }
    EXPECT_TRUE(noticed) << "nothing depends on the barrier at " << place;
  }
  cuda_on_host::reset({});
}

TEST_F(CudaBackendTest, RowsOfAProductDoNotDependOnTheRowsBesideThem) {
  constexpr std::int64_t kRows = 131;
  Random random(7);
  const std::vector<float> x = random.normals(kRows * 301);
  const StoredTensor w = random_tensor(random, DType::kF16, {70, 301}, 0.1);
  const StoredTensor bias = random_tensor(random, DType::kF16, {70}, 1.0);
  for (const Arithmetic arithmetic : {Arithmetic::kExact, Arithmetic::kFp16}) {
    const auto backend = make(arithmetic);
    const Owned in(*backend, x, kRows, 301);
    const auto in_parts = [&](std::int64_t part) {
      const Owned out(*backend, std::vector<float>(kRows * 70), kRows, 70);
      for (std::int64_t begin = 0; begin < kRows;) {
        const std::int64_t left = kRows - begin;
        const std::int64_t count = left < part + kMinStableRows ? left : part;
        backend->linear(in.mat.row_range(begin, count), {w.view(), false}, bias.view(),
                        out.mat.row_range(begin, count));
        begin += count;
      }
      return read(*backend, out.mat);
    };
    const std::vector<float> once = in_parts(kRows);
    for (const std::int64_t part : {16, 17, 33, 64, 100}) {
      EXPECT_EQ(in_parts(part), once) << part;
    }
  }
}

TEST_F(CudaBackendTest, StreamsACheckpointLargerThanTheDevice) {
  const std::vector<Layer> model = layers(12);
  const auto backend_bits = [&](std::size_t memory) {
    cuda_on_host::reset({.seed = 5, .delayed = true, .memory_bytes = memory});
    return small_model(*make(), model, true);
  };
  const std::vector<float> roomy = backend_bits(std::size_t{1} << 30);
  const std::size_t uploaded = cuda_on_host::counts().bytes_to_device;
  std::size_t stored = 0;
  for (const Layer& layer : model) {
    stored += layer.up.view().bytes + layer.down.view().bytes;
  }
  // Activations, and two layers in both forms.
  const std::size_t little = std::size_t{700} << 10;
  EXPECT_LT(little, stored) << "the checkpoint does not fit";
  EXPECT_EQ(backend_bits(little), roomy);
  EXPECT_LE(cuda_on_host::counts().peak_bytes, little);
  EXPECT_LT(uploaded, stored + (std::size_t{1} << 20)) << "each weight was uploaded once";
}

TEST_F(CudaBackendTest, LanesThatShareAMatrixShareItsUpload) {
  Random random(3);
  const StoredTensor w = random_tensor(random, DType::kF16, {500, 512}, 0.1);
  const std::vector<Weight> shared{{w.view(), false}};
  const auto backend = make(Arithmetic::kFp16);
  const Owned x(*backend, random.normals(20 * 512), 20, 512);
  const Owned y(*backend, random.normals(20 * 500), 20, 500);
  const std::size_t before = cuda_on_host::counts().bytes_to_device;
  backend->prefetch(shared);
  backend->prefetch(shared);
  backend->linear(x.mat, shared[0], {}, y.mat);
  backend->release(shared);
  backend->linear(x.mat, shared[0], {}, y.mat);  // the other lane still holds it
  read(*backend, y.mat);
  EXPECT_EQ(cuda_on_host::counts().bytes_to_device - before, w.view().bytes);
  backend->release(shared);
  backend->linear(x.mat, shared[0], {}, y.mat);  // not announced any more: uploaded for this use
  read(*backend, y.mat);
  EXPECT_EQ(cuda_on_host::counts().bytes_to_device - before, 2 * w.view().bytes);
}

TEST_F(CudaBackendTest, AReleasedAddressMayHoldOtherBytes) {
  std::vector<float> bytes(64 * 64, 1.0F);
  const TensorView view{DType::kF32,
                        {64, 64},
                        reinterpret_cast<const std::byte*>(bytes.data()),
                        bytes.size() * sizeof(float)};
  const std::vector<Weight> weights{{view, false}};
  const auto backend = make();
  const Owned x(*backend, std::vector<float>(20 * 64, 1.0F), 20, 64);
  const Owned y(*backend, std::vector<float>(20 * 64), 20, 64);
  for (const float value : {1.0F, 2.0F}) {
    bytes.assign(bytes.size(), value);
    backend->prefetch(weights);
    backend->linear(x.mat, weights[0], {}, y.mat);
    backend->release(weights);
    EXPECT_EQ(read(*backend, y.mat).front(), 64 * value);
  }
}

TEST_F(CudaBackendTest, TooLittleMemoryHalvesAPieceAndSaysSo) {
  Random random(4);
  const StoredTensor a = random_tensor(random, DType::kF16, {8, 64}, 0.1);
  const StoredTensor b = random_tensor(random, DType::kF16, {4096, 8}, 0.1);
  const std::vector<float> values = random.normals(256 * 64);
  const auto run = [&](std::size_t spare, std::vector<std::string>& notes) {
    cuda_on_host::reset({});
    const auto backend = make();
    const Owned x(*backend, values, 256, 64);
    const Owned y(*backend, std::vector<float>(256 * 4096), 256, 4096);
    read(*backend, y.mat);
    cuda_on_host::set_memory(cuda_on_host::counts().bytes + spare);
    backend->low_rank(x.mat, a.view(), b.view(), 1.0, y.mat);
    std::vector<float> result = read(*backend, y.mat);
    notes = backend->notes();
    return result;
  };
  std::vector<std::string> notes;
  const std::vector<float> roomy = run(std::size_t{1} << 30, notes);
  EXPECT_THAT(notes, testing::IsEmpty());
  EXPECT_EQ(run(std::size_t{2} << 20, notes), roomy);
  EXPECT_THAT(notes,
              testing::ElementsAre("device memory was short: a low-rank product took 64 rows "
                                   "at a time instead of 256"));
}

TEST_F(CudaBackendTest, OutOfMemoryNamesWhatItWasFor) {
  const auto backend = make();
  cuda_on_host::set_memory(1 << 20);
  try {
    backend->allocate(1 << 20);
    FAIL() << "there is no room for it";
  } catch (const Error& error) {
    EXPECT_STREQ(
        error.what(),
        "error[device.out-of-memory]: the device failed at allocating activations (4194304 "
        "bytes)\n"
        "  actual:   out of memory\n"
        "  hint:     fewer --chunk-tokens or a shorter suite need less device memory");
  }
}

TEST_F(CudaBackendTest, SaysWhyAMachineWillNotDo) {
  const std::string hint =
      "\n  hint:     --backend cpu runs everywhere; --backend auto takes it by itself";
  EXPECT_EQ(refusal({.devices = 0}),
            "error[backend.unavailable]: there is no CUDA device on this machine" + hint);
  EXPECT_EQ(refusal({.driver_version = 0}),
            "error[backend.unavailable]: there is no NVIDIA driver on this machine\n"
            "  expected: a driver for CUDA 13.0 or later   actual: none" +
                hint);
  EXPECT_EQ(refusal({.driver_version = 12020}),
            "error[backend.unavailable]: the NVIDIA driver is too old for this build\n"
            "  expected: a driver for CUDA 13.0 or later   actual: a driver for CUDA 12.2" +
                hint);
  EXPECT_EQ(refusal({.capability = 75}),
            "error[backend.unavailable]: the CUDA device is too old: host emulation\n"
            "  expected: sm_80 or later   actual: sm_75" +
                hint);
}

TEST_F(CudaBackendTest, AutoTakesTheDeviceWhereThereIsOneAndTheCpuElsewhere) {
  const BackendOptions options{.arithmetic = Arithmetic::kExact, .pool = &pool_, .isa = {}};
  EXPECT_EQ(choose_backend("auto", options).name, "cuda");
  EXPECT_EQ(choose_backend("auto", options).why, "--backend auto took cuda (sm_90)");
  cuda_on_host::reset({.devices = 0});
  EXPECT_EQ(choose_backend("auto", options).name, "cpu");
  EXPECT_EQ(choose_backend("auto", options).why,
            "--backend auto took the cpu: there is no CUDA device on this machine");
}

TEST_F(CudaBackendTest, RefusesHeadsItHasNoKernelFor) {
  const auto backend = make();
  const Owned x(*backend, std::vector<float>(260), 1, 260);
  const std::vector<AttentionSegment> one{{0, 1, 0, 1}};
  AttentionParams params;
  params.heads = 1;
  params.kv_heads = 1;
  params.head_dim = 260;
  params.scale = 1;
  EXPECT_THROW(backend->attention(x.mat, x.mat, x.mat, one, params, x.mat), Error);
}

}  // namespace
}  // namespace mg
