#include "tests/lanes/logit_rows.h"

#include <bit>
#include <random>

#include "kernels/registry.h"

namespace mg::test {

void Keep::logits(const LogitChunk& rows) {
  lanes.resize(rows.lanes.size());
  vocab = rows.vocab.front();
  EXPECT_EQ(rows.first_row * vocab, static_cast<std::int64_t>(lanes[0].size()));
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    lanes[i].insert(lanes[i].end(), rows.lanes[i].begin(), rows.lanes[i].end());
  }
}

std::span<const float> Keep::row(std::size_t lane, std::int64_t index) const {
  return std::span(lanes[lane])
      .subspan(static_cast<std::size_t>(index * vocab), static_cast<std::size_t>(vocab));
}

std::vector<std::int32_t> tokens(std::int64_t count, std::int64_t vocab, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(vocab)));
  }
  return ids;
}

Batch sample_batch(std::int64_t vocab) {
  Batch batch;
  for (const int length : {20, 1, 40, 7, 33, 16, 5}) {
    batch.add("p" + std::to_string(batch.prompts.size()),
              tokens(length, vocab, static_cast<std::uint32_t>(length)));
  }
  return batch;
}

std::vector<std::int32_t> ids_of(const Batch& batch, std::size_t prompt) {
  const auto first = batch.ids.begin() + batch.prompts[prompt].begin;
  return {first, first + batch.prompts[prompt].length};
}

void PrintTo(const Setting& setting, std::ostream* out) {
  *out << setting.backend << " " << setting.family.name;
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const std::string& name : backend_names()) {
    for (const Family& family : families()) {
      all.push_back({name, family});
    }
  }
  return all;
}

std::string setting_name(const ::testing::TestParamInfo<Setting>& setting) {
  return setting.param.backend + "_" + setting.param.family.name;
}

void expect_same_bits(std::span<const float> left, std::span<const float> right) {
  ASSERT_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(left[i]), std::bit_cast<std::uint32_t>(right[i]))
        << "element " << i << ": " << left[i] << " and " << right[i];
  }
}

}  // namespace mg::test
