#include "harness/bench/workload.h"

#include <algorithm>

#include "harness/metrics/random.h"

namespace mg {
namespace {

std::vector<Lane> lanes_of(Backend& backend, const BenchLane& lane) {
  std::vector<Lane> lanes;
  for (WeightSource* source : lane.sources) {
    lanes.push_back({lane.name, source, &backend});
  }
  return lanes;
}

/// Prompts of each lane: a contestant's lanes share the batch.
std::int64_t prompts_of(const BenchLane& lane, const BenchSetting& setting) {
  return std::max<std::int64_t>(1, setting.batch / static_cast<std::int64_t>(lane.sources.size()));
}

std::vector<std::int64_t> capacities(const BenchLane& lane, const BenchSetting& setting,
                                     std::int64_t steps) {
  const std::int64_t added = setting.phase == "decode" ? steps : 0;
  return std::vector<std::int64_t>(static_cast<std::size_t>(prompts_of(lane, setting)),
                                   setting.length + added);
}

}  // namespace

Workload::Workload(Backend& backend, const BenchLane& lane, const BenchSetting& setting,
                   std::int64_t decode_steps)
    : decodes_(setting.phase == "decode"),
      length_(setting.length),
      steps_(decodes_ ? decode_steps : 1),
      decoder_(lanes_of(backend, lane), capacities(lane, setting, decode_steps)) {
  const std::int64_t vocab = lane.sources.front()->config().vocab_size;
  const std::int64_t fed = decodes_ ? 1 : setting.length;
  SplitMix64 random(1);
  for (std::int64_t p = 0; p < prompts_of(lane, setting); ++p) {
    std::vector<std::int32_t> ids;
    for (std::int64_t t = 0; t < fed; ++t) {
      ids.push_back(static_cast<std::int32_t>(random.below(vocab)));
    }
    next_.push_back(
        {.prompt = static_cast<std::size_t>(p), .ids = {std::move(ids)}, .rope_length = 0});
  }
  tokens_ = static_cast<double>(steps_ * fed * prompts_of(lane, setting) *
                                static_cast<std::int64_t>(lane.sources.size()));
}

void Workload::turn() {
  for (const NewTokens& prompt : next_) {
    decoder_.assume(prompt.prompt, decodes_ ? length_ : 0);
  }
  for (std::int64_t step = 0; step < steps_; ++step) {
    decoder_.advance(next_, StepRows::kLast, [](const LogitChunk&) {});
  }
}

std::uint64_t Workload::cache_bytes_of(const BenchLane& lane, const BenchSetting& setting,
                                       std::int64_t decode_steps) {
  const ModelConfig& config = lane.sources.front()->config();
  const std::int64_t rows = capacities(lane, setting, decode_steps).front() *
                            prompts_of(lane, setting) *
                            static_cast<std::int64_t>(lane.sources.size());
  const std::int64_t width = 2 * config.num_key_value_heads * config.head_dim;
  return static_cast<std::uint64_t>(rows * width * config.num_hidden_layers) * sizeof(float);
}

}  // namespace mg
