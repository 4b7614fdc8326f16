// Bases stored as codes on an emulated device: the codes are uploaded and decoded there, the host
// decodes nothing, and every bit is what the host's values give.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "harness/lanes/checkpoint_source.h"
#include "harness/lanes/lockstep.h"
#include "harness/lanes/remerge_source.h"
#include "harness/run/models.h"
#include "kernels/registry.h"
#include "tests/cuda_on_host/machine.h"
#include "tests/kernels/faulty_backend.h"

namespace mg {
namespace {

const std::filesystem::path kGoldenModels = std::filesystem::path(MG_TEST_DATA) / "golden";

/// The same device, taking values.
class WithoutCodes final : public PassingBackend {
 public:
  using PassingBackend::PassingBackend;
  void prefetch(std::span<const Weight> weights) override { right_.prefetch(weights); }
  void release(std::span<const Weight> weights) override { right_.release(weights); }
};

class KeepLogits final : public Observer {
 public:
  void logits(const LogitChunk& rows) override {
    for (const auto& lane : rows.lanes) {
      all.insert(all.end(), lane.begin(), lane.end());
    }
  }
  std::vector<float> all;
};

struct Passed {
  std::vector<float> logits;
  std::size_t bytes_to_device = 0;
  std::int64_t decoded = 0;  // copies that the host made while layers ran
};

struct Trial {
  std::string base = "qwen2-nf4";
  std::string adapter = "qwen2-nf4";
  BlockOrder order = BlockOrder::kByRow;
  Arithmetic arithmetic = Arithmetic::kExact;
  bool remerged = false;  // a lane beside that needs the host's values
  int passes = 1;         // through the same lanes
};

class CodesTest : public testing::Test {
 protected:
  void SetUp() override { cuda_on_host::reset({}); }
  void TearDown() override {
    EXPECT_THAT(cuda_on_host::take_failures(), testing::IsEmpty());
    EXPECT_EQ(cuda_on_host::counts().allocations, 0U) << "all memory was given back";
  }

  Passed pass(const Trial& trial, bool codes) {
    const OpenModel base(kGoldenModels / trial.base / "base", trial.order);
    const OpenAdapter adapter(kGoldenModels / trial.adapter / "adapter", base);
    const auto device =
        make_backend("cuda", {.arithmetic = trial.arithmetic, .pool = &pool_, .isa = {}});
    WithoutCodes values(*device);
    Backend* backend = codes ? device.get() : &values;
    CheckpointSource base_source(base.checkpoint, base.model, nullptr, &pool_);
    CheckpointSource adapter_source(base.checkpoint, base.model, &adapter.attached, &pool_);
    RemergeSource remerged(base.checkpoint, base.model, adapter.attached, std::nullopt, pool_);
    std::vector<Lane> lanes{{"base", &base_source, backend}, {"adapter", &adapter_source, backend}};
    if (trial.remerged) {
      lanes.push_back({"remerged", &remerged, backend});
    }
    Batch batch;
    batch.add("long", {1, 5, 9, 2, 77, 31, 8, 4, 66, 12, 3, 90, 41, 7, 23, 19, 5, 11, 64, 2});
    batch.add("short", {3, 17});
    Passed passed;
    for (int i = 0; i < trial.passes; ++i) {
      const std::int64_t decoded = base.checkpoint.copies_decoded();
      const std::size_t before = cuda_on_host::counts().bytes_to_device;
      KeepLogits keep;
      run_lockstep(pool_, lanes, batch, {}, keep);
      passed = {std::move(keep.all), cuda_on_host::counts().bytes_to_device - before,
                base.checkpoint.copies_decoded() - decoded};
    }
    return passed;
  }

  ThreadPool pool_{2};
};

TEST_F(CodesTest, TheHostDecodesNothingAndNoBitChanges) {
  for (const char* name : {"qwen2-nf4", "qwen2-fp4", "qwen2-int8"}) {
    std::size_t values = 0;
    std::size_t stored = 0;
    std::int64_t matrices = 0;
    const OpenModel base(kGoldenModels / name / "base");
    for (const auto& tensor : base.checkpoint.quantised()) {
      values += static_cast<std::size_t>(tensor->rows_count * tensor->cols_count) * sizeof(float);
      stored += tensor->stored_bytes();
      ++matrices;
    }
    ASSERT_GT(matrices, 0);
    for (const BlockOrder order : {BlockOrder::kByRow, BlockOrder::kFlat}) {
      for (const Arithmetic arithmetic : {Arithmetic::kExact, Arithmetic::kFp16}) {
        SCOPED_TRACE(testing::Message() << name << ", order " << static_cast<int>(order)
                                        << ", arithmetic " << static_cast<int>(arithmetic));
        const Trial trial{.base = name, .adapter = name, .order = order, .arithmetic = arithmetic};
        const Passed by_host = pass(trial, false);
        const Passed by_device = pass(trial, true);
        EXPECT_EQ(by_device.logits, by_host.logits);
        EXPECT_EQ(by_host.decoded, matrices);
        EXPECT_EQ(by_device.decoded, 0);
        // Both lanes share each upload; parts start at multiples of 256 bytes.
        const std::size_t uploaded = by_device.bytes_to_device - (by_host.bytes_to_device - values);
        EXPECT_LE(uploaded, stored + static_cast<std::size_t>(matrices) * 5 * 256);
      }
    }
  }
}

TEST_F(CodesTest, OrdersAndLittleMemoryChangeNoBit) {
  const Passed expected = pass({}, true);
  for (const std::uint64_t seed : {1U, 2U}) {
    cuda_on_host::reset({.seed = seed, .delayed = true});
    EXPECT_EQ(pass({}, true).logits, expected.logits) << seed;
  }
  const std::size_t peak = cuda_on_host::counts().peak_bytes;
  cuda_on_host::reset({.memory_bytes = peak * 3 / 4});
  const Passed tight = pass({}, true);
  EXPECT_EQ(tight.logits, expected.logits);
  EXPECT_EQ(tight.decoded, 0);
}

/// The re-merge reads the base's values on the host; matrices that it leaves alone are announced by
/// both lanes, at one address.
TEST_F(CodesTest, ALaneThatNeedsValuesHasThemBesideOneThatTakesCodes) {
  Trial trial;
  trial.remerged = true;
  const Passed by_device = pass(trial, true);
  EXPECT_EQ(by_device.logits, pass(trial, false).logits);
  EXPECT_GT(by_device.decoded, 0);
}

/// DoRA divides by norms of the base's rows, which the host computes from its values.
TEST_F(CodesTest, NormsOfDoraNeedTheValuesOnce) {
  Trial trial;
  trial.adapter = "qwen2-dora";
  const Passed first = pass(trial, true);
  EXPECT_EQ(first.logits, pass(trial, false).logits);
  EXPECT_GT(first.decoded, 0);
  trial.passes = 2;
  const Passed second = pass(trial, true);
  EXPECT_EQ(second.logits, first.logits);
  EXPECT_EQ(second.decoded, 0);
}

}  // namespace
}  // namespace mg
