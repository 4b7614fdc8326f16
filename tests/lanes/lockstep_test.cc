// Properties of the forward pass that need no reference implementation, for every family and
// backend.
#include "harness/lanes/lockstep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "kernels/core/error.h"
#include "kernels/registry.h"
#include "tests/lanes/logit_rows.h"
#include "tests/lanes/synthetic_source.h"

namespace mg {
namespace {

using test::expect_same_bits;
using test::Keep;
using test::sample_batch;
using test::Setting;
using test::setting_name;
using test::settings;
using test::SyntheticSource;
using test::tokens;

class LockstepTest : public ::testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
    try {
      ThreadPool pool(1);
      backend(pool);
    } catch (const Error& error) {
      if (error.parts().code != "backend.unavailable") {
        throw;
      }
      GTEST_SKIP() << error.what();
    }
  }
  const ModelConfig& config() const { return GetParam().family.config; }

  std::unique_ptr<Backend> backend(ThreadPool& pool, Arithmetic arithmetic = Arithmetic::kExact) {
    return make_backend(GetParam().backend, {.arithmetic = arithmetic, .pool = &pool, .isa = {}});
  }

  Keep run(std::vector<SyntheticSource*> sources, const Batch& batch, int threads = 1,
           std::int64_t chunk_tokens = 1024, std::size_t logits_bytes = 1 << 20,
           LockstepResult* result = nullptr) {
    ThreadPool pool(threads);
    const std::unique_ptr<Backend> cpu = backend(pool);
    std::vector<Lane> lanes;
    for (SyntheticSource* source : sources) {
      lanes.push_back({"lane" + std::to_string(lanes.size()), source, cpu.get()});
    }
    LockstepOptions options;
    options.chunk_tokens = chunk_tokens;
    options.logits_bytes = logits_bytes;
    for (std::size_t i = 1; i < lanes.size(); ++i) {
      options.subjects.push_back(i);
    }
    options.forced_tokens = 60;
    options.fingerprints = true;
    Keep keep;
    LockstepResult outcome = run_lockstep(pool, lanes, batch, options, keep);
    if (result != nullptr) {
      *result = std::move(outcome);
    }
    return keep;
  }
};

TEST_P(LockstepTest, IdenticalLanesGiveIdenticalBitsAndNoDrift) {
  SyntheticSource first(config(), 1);
  SyntheticSource second(config(), 1);  // the same numbers at another address: no shared product
  LockstepResult result;
  const Keep keep =
      run({&first, &second, &first}, sample_batch(config().vocab_size), 1, 1024, 1 << 20, &result);
  expect_same_bits(keep.lanes[0], keep.lanes[1]);
  expect_same_bits(keep.lanes[0], keep.lanes[2]);
  for (const std::vector<HalfDrift>& subject : result.drift) {
    ASSERT_EQ(subject.size(), static_cast<std::size_t>(2 * config().num_hidden_layers));
    for (const HalfDrift& half : subject) {
      EXPECT_EQ(half.free_rel, 0.0);
      EXPECT_EQ(half.forced_rel, 0.0);
    }
  }
  EXPECT_EQ(result.fingerprints[0], result.fingerprints[1]);
}

TEST_P(LockstepTest, ThreadsAndChunksDoNotChangeABit) {
  SyntheticSource base(config(), 1);
  SyntheticSource adapted(config(), 1);
  adapted.add_adapter(2, 0.2F);
  const Batch batch = sample_batch(config().vocab_size);
  const Keep expected = run({&base, &adapted}, batch);
  for (const int threads : {1, 2, 3}) {
    for (const std::int64_t chunk : {16, 30, 1024}) {
      const Keep actual = run({&base, &adapted}, batch, threads, chunk, 10000);
      expect_same_bits(expected.lanes[0], actual.lanes[0]);
      expect_same_bits(expected.lanes[1], actual.lanes[1]);
    }
  }
}

TEST_P(LockstepTest, LanesDoNotInfluenceEachOther) {
  SyntheticSource base(config(), 1);
  SyntheticSource adapted(config(), 1);
  adapted.add_adapter(2, 0.2F, true);
  SyntheticSource other(config(), 3);
  const Batch batch = sample_batch(config().vocab_size);
  const Keep together = run({&base, &adapted, &other}, batch);
  expect_same_bits(together.lanes[0], run({&base}, batch).lanes[0]);
  expect_same_bits(together.lanes[1], run({&adapted}, batch).lanes[0]);
  expect_same_bits(together.lanes[2], run({&other}, batch).lanes[0]);
}

TEST_P(LockstepTest, AnAdapterOfZeroEqualsTheBase) {
  SyntheticSource base(config(), 1);
  SyntheticSource adapted(config(), 1);
  adapted.add_adapter(2, 0.0F);
  const Keep keep = run({&base, &adapted}, sample_batch(config().vocab_size));
  for (std::size_t i = 0; i < keep.lanes[0].size(); ++i) {
    ASSERT_EQ(keep.lanes[0][i], keep.lanes[1][i]);
  }
}

TEST_P(LockstepTest, TheFutureDoesNotChangeThePast) {
  SyntheticSource source(config(), 1);
  std::vector<std::int32_t> ids = tokens(30, config().vocab_size, 9);
  Batch before;
  before.add("p", ids);
  ids[22] = static_cast<std::int32_t>((ids[22] + 1) % config().vocab_size);
  Batch after;
  after.add("p", ids);
  const Keep first = run({&source}, before);
  const Keep second = run({&source}, after);
  for (std::int64_t t = 0; t < 22; ++t) {
    expect_same_bits(first.row(0, t), second.row(0, t));
  }
  EXPECT_FALSE(
      std::equal(first.row(0, 22).begin(), first.row(0, 22).end(), second.row(0, 22).begin()));
}

TEST_P(LockstepTest, PermutingPromptsPermutesResults) {
  SyntheticSource source(config(), 1);
  const Batch batch = sample_batch(config().vocab_size);
  Batch reversed;
  for (std::size_t i = batch.prompts.size(); i-- > 0;) {
    const BatchPrompt& prompt = batch.prompts[i];
    const auto first = batch.ids.begin() + prompt.begin;
    reversed.add(prompt.id, {first, first + prompt.length});
  }
  const Keep forwards = run({&source}, batch);
  const Keep backwards = run({&source}, reversed);
  for (const BatchPrompt& prompt : reversed.prompts) {
    const auto same = std::find_if(batch.prompts.begin(), batch.prompts.end(),
                                   [&](const BatchPrompt& other) { return other.id == prompt.id; });
    for (std::int64_t t = 0; t < prompt.length; ++t) {
      expect_same_bits(forwards.row(0, same->begin + t), backwards.row(0, prompt.begin + t));
    }
  }
}

TEST_P(LockstepTest, ForcedDriftNamesTheDamagedHalfAlone) {
  SyntheticSource reference(config(), 1);
  SyntheticSource damaged(config(), 1);
  LayerWeights& layer = damaged.mutable_layer(1);
  layer.o.weight.values = damaged.random(layer.o.weight.values.shape, 0.5F);
  LockstepResult result;
  run({&reference, &damaged}, sample_batch(config().vocab_size), 1, 1024, 1 << 20, &result);
  EXPECT_GT(result.forced_rows, 0);
  for (const HalfDrift& half : result.drift[0]) {
    const bool mlp = half.part == Part::kMlp;
    const bool culprit = half.layer == 1 && !mlp;
    const bool after = half.layer > 1 || (half.layer == 1 && mlp);
    EXPECT_EQ(*half.forced_rel > 0.0, culprit) << half.layer << (mlp ? " mlp" : " attention");
    EXPECT_EQ(half.free_rel > 0.0, culprit || after);
  }
}

TEST_P(LockstepTest, NonFiniteHiddenStatesAreLocated) {
  SyntheticSource source(config(), 1);
  LayerWeights& layer = source.mutable_layer(2);
  layer.o.weight.values =
      source.random(layer.o.weight.values.shape, std::numeric_limits<float>::infinity());
  LockstepResult result;
  SyntheticSource sound(config(), 1);
  run({&sound, &source}, sample_batch(config().vocab_size), 1, 1024, 1 << 20, &result);
  EXPECT_FALSE(result.non_finite[0].has_value());
  ASSERT_TRUE(result.non_finite[1].has_value());
  EXPECT_EQ(result.non_finite[1]->layer, 2);
  EXPECT_EQ(result.non_finite[1]->part, Part::kAttention);
  EXPECT_EQ(result.non_finite[1]->row, 0);
}

INSTANTIATE_TEST_SUITE_P(Backends, LockstepTest, ::testing::ValuesIn(settings()), setting_name);

}  // namespace
}  // namespace mg
