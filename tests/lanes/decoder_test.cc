// Decoding with kept keys and values against the whole pass, for every family and backend.
#include "harness/lanes/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/core/error.h"
#include "kernels/registry.h"
#include "tests/lanes/logit_rows.h"
#include "tests/lanes/synthetic_source.h"

namespace mg {
namespace {

using test::expect_same_bits;
using test::ids_of;
using test::Keep;
using test::sample_batch;
using test::Setting;
using test::setting_name;
using test::settings;
using test::SyntheticSource;
using test::tokens;

/// Logits by lane, prompt and position.
using Rows = std::map<std::tuple<std::size_t, std::size_t, std::int64_t>, std::vector<float>>;

class DecoderTest : public ::testing::TestWithParam<Setting> {
 protected:
  void SetUp() override {
    try {
      backend_ = make_backend(GetParam().backend,
                              {.arithmetic = Arithmetic::kExact, .pool = &pool_, .isa = {}});
    } catch (const Error& error) {
      if (error.parts().code != "backend.unavailable") {
        throw;
      }
      GTEST_SKIP() << error.what();
    }
  }
  const ModelConfig& config() const { return GetParam().family.config; }

  std::vector<Lane> lanes_of(const std::vector<SyntheticSource*>& sources) {
    std::vector<Lane> lanes;
    for (SyntheticSource* source : sources) {
      lanes.push_back({"lane" + std::to_string(lanes.size()), source, backend_.get()});
    }
    return lanes;
  }

  /// Every row of the whole pass.
  Rows whole_pass(const std::vector<SyntheticSource*>& sources, const Batch& batch) {
    Keep keep;
    run_lockstep(pool_, lanes_of(sources), batch, {}, keep);
    Rows rows;
    for (std::size_t lane = 0; lane < sources.size(); ++lane) {
      for (std::size_t p = 0; p < batch.prompts.size(); ++p) {
        for (std::int64_t t = 0; t < batch.prompts[p].length; ++t) {
          const auto row = keep.row(lane, batch.prompts[p].begin + t);
          rows[{lane, p, t}].assign(row.begin(), row.end());
        }
      }
    }
    return rows;
  }

  /// Adds `counts[p]` tokens of every prompt p (or what is left of it) in one step, and again until
  /// none is left.
  Rows in_steps(const std::vector<SyntheticSource*>& sources, const Batch& batch,
                const std::vector<std::int64_t>& counts, const DecoderOptions& options = {}) {
    std::vector<std::int64_t> lengths;
    for (const BatchPrompt& prompt : batch.prompts) {
      lengths.push_back(prompt.length);
    }
    Decoder decoder(lanes_of(sources), lengths, options);
    Rows rows;
    while (true) {
      std::vector<NewTokens> step;
      std::vector<std::pair<std::size_t, std::int64_t>> places;
      for (std::size_t p = 0; p < batch.prompts.size(); ++p) {
        const std::int64_t done = decoder.length(p);
        const std::int64_t count = std::min(counts[p % counts.size()], lengths[p] - done);
        if (count > 0) {
          const std::vector<std::int32_t> ids = ids_of(batch, p);
          step.push_back({.prompt = p,
                          .ids = {{ids.begin() + done, ids.begin() + done + count}},
                          .rope_length = lengths[p]});
          for (std::int64_t t = done; t < done + count; ++t) {
            places.emplace_back(p, t);
          }
        }
      }
      if (step.empty()) {
        return rows;
      }
      decoder.advance(step, StepRows::kAll, [&](const LogitChunk& chunk) {
        for (std::int64_t i = 0; i < chunk.rows; ++i) {
          const auto& [p, t] = places[static_cast<std::size_t>(chunk.first_row + i)];
          for (std::size_t lane = 0; lane < chunk.lanes.size(); ++lane) {
            const auto row =
                chunk.lanes[lane].subspan(static_cast<std::size_t>(i * chunk.vocab[lane]),
                                          static_cast<std::size_t>(chunk.vocab[lane]));
            rows[{lane, p, t}].assign(row.begin(), row.end());
          }
        }
      });
    }
  }

  /// Bit for bit where the backend's products do not know the number of their rows.  Elsewhere
  /// within what FP32 allows: a logit is the end of a chain of 3 layers of about 4 products each
  /// over at most 48 terms; with unit variance throughout, its error is about sqrt(12 * 48) u times
  /// a few, and 2^-14 is 40 times that.
  void expect_same(const Rows& expected, const Rows& actual, bool stable = false) const {
    ASSERT_EQ(expected.size(), actual.size());
    const bool exact = stable || backend_->min_stable_rows() == 1;
    for (const auto& [place, row] : expected) {
      const std::vector<float>& other = actual.at(place);
      if (exact) {
        expect_same_bits(row, other);
      } else {
        ASSERT_EQ(row.size(), other.size());
        for (std::size_t i = 0; i < row.size(); ++i) {
          ASSERT_TRUE(std::fabs(row[i] - other[i]) <= 0x1p-14F * std::max(1.0F, std::fabs(row[i])))
              << row[i] << " and " << other[i];
        }
      }
      if (HasFatalFailure()) {
        FAIL() << "lane " << std::get<0>(place) << " prompt " << std::get<1>(place) << " token "
               << std::get<2>(place);
      }
    }
  }

  ThreadPool pool_{2};
  std::unique_ptr<Backend> backend_;
};

TEST_P(DecoderTest, TokenByTokenEqualsTheWholePass) {
  SyntheticSource base(config(), 1);
  SyntheticSource adapted(config(), 1);
  adapted.add_adapter(2, 0.2F, true);
  const Batch batch = sample_batch(config().vocab_size);
  const Rows expected = whole_pass({&base, &adapted}, batch);
  expect_same(expected, in_steps({&base, &adapted}, batch, {1}));
}

TEST_P(DecoderTest, AnyStepsEqualTheWholePass) {
  SyntheticSource base(config(), 1);
  const Batch batch = sample_batch(config().vocab_size);
  const Rows expected = whole_pass({&base}, batch);
  expect_same(expected, in_steps({&base}, batch, {64}));        // prompts whole
  expect_same(expected, in_steps({&base}, batch, {3, 17, 1}));  // prompts at different paces
  expect_same(expected, in_steps({&base}, batch, {64}, {.chunk_tokens = 16}));
  expect_same(expected, in_steps({&base}, batch, {9, 2}, {.chunk_tokens = 16, .streamed = true}));
}

TEST_P(DecoderTest, NeighboursInTheBatchDoNotChangeARow) {
  SyntheticSource base(config(), 1);
  SyntheticSource adapted(config(), 1);
  adapted.add_adapter(2, 0.2F);
  const Batch batch = sample_batch(config().vocab_size);
  // One prompt beside six is a step of 1 row or of 7: both below kMinStableRows.
  const Rows together = in_steps({&base, &adapted}, batch, {1});
  for (std::size_t p = 0; p < batch.prompts.size(); ++p) {
    Batch one;
    one.add("alone", ids_of(batch, p));
    const Rows alone = in_steps({&adapted}, one, {1});
    for (std::int64_t t = 0; t < batch.prompts[p].length; ++t) {
      expect_same_bits(together.at({1, p, t}), alone.at({0, 0, t}));
    }
  }
}

TEST_P(DecoderTest, LanesMayGoTheirOwnWays) {
  SyntheticSource base(config(), 1);
  SyntheticSource other(config(), 3);
  const std::vector<std::int32_t> first = tokens(20, config().vocab_size, 5);
  const std::vector<std::int32_t> second = tokens(20, config().vocab_size, 6);
  Decoder decoder(lanes_of({&base, &other}), {20});
  std::vector<float> last[2];
  for (std::size_t t = 0; t < first.size(); ++t) {
    const std::vector<NewTokens> step{
        {.prompt = 0, .ids = {{first[t]}, {second[t]}}, .rope_length = 0}};
    decoder.advance(step, StepRows::kLast, [&](const LogitChunk& chunk) {
      for (std::size_t lane = 0; lane < 2; ++lane) {
        last[lane].assign(chunk.lanes[lane].begin(), chunk.lanes[lane].end());
      }
    });
  }
  Batch batch;
  batch.add("first", first);
  expect_same_bits(in_steps({&base}, batch, {1}).at({0, 0, 19}), last[0]);
  Batch own;
  own.add("second", second);
  expect_same_bits(in_steps({&other}, own, {1}).at({0, 0, 19}), last[1]);
}

TEST_P(DecoderTest, AWindowedCacheForgetsOnlyWhatNobodySees) {
  ModelConfig long_context = config();
  long_context.max_position_embeddings = 400;
  SyntheticSource source(long_context, 1);
  Batch batch;
  batch.add("long", tokens(400, config().vocab_size, 3));  // windows of 5 keep 314 at most
  batch.add("short", tokens(40, config().vocab_size, 4));
  const DecoderOptions options{.chunk_tokens = 32};
  const Rows expected = whole_pass({&source}, batch);
  expect_same(expected, in_steps({&source}, batch, {400}, options));
  expect_same(expected, in_steps({&source}, batch, {7, 1}, options));
}

TEST(CacheSlotsTest, AWindowKeepsAtMostTwiceWhatItSees) {
  const std::vector<std::int64_t> capacities{100000, 50};
  CacheSlots slots(capacities, 300, 16);
  EXPECT_EQ(slots.rows(), 2 * (300 + kKeyTile) + 16 + 50);
  const CacheSlots full(capacities, 0, 16);
  EXPECT_EQ(full.rows(), 100050);
  std::int64_t tokens = 0;
  bool moved = false;
  while (tokens < 5000) {
    const std::int64_t count = tokens % 16 + 1;
    const std::vector<NewRows> rows{{.prompt = 0, .q_begin = 0, .count = count}};
    const CacheStep step = slots.advance(rows);
    tokens += count;
    const AttentionSegment& segment = step.segments.front();
    EXPECT_GE(segment.k_len, std::min<std::int64_t>(tokens, 300 + count - 1));
    EXPECT_EQ((tokens - segment.k_len) % kKeyTile, 0);
    for (const CacheMove& move : step.moves) {
      moved = true;
      EXPECT_LE(move.to + move.count, move.from) << "rows do not overlap";
    }
  }
  EXPECT_TRUE(moved);
}

INSTANTIATE_TEST_SUITE_P(Backends, DecoderTest, ::testing::ValuesIn(settings()), setting_name);

}  // namespace
}  // namespace mg
