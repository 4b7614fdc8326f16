// What the tests of lanes share: prompts, kept logits, settings.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "harness/lanes/lockstep.h"
#include "tests/lanes/synthetic_source.h"

namespace mg::test {

/// Logits of every lane and row, kept.
class Keep final : public Observer {
 public:
  void logits(const LogitChunk& rows) override;
  std::span<const float> row(std::size_t lane, std::int64_t index) const;
  std::vector<std::vector<float>> lanes;
  std::int64_t vocab = 0;
};

std::vector<std::int32_t> tokens(std::int64_t count, std::int64_t vocab, std::uint32_t seed);

/// 7 prompts of 1 to 40 tokens.
Batch sample_batch(std::int64_t vocab);

/// The prompt's ids.
std::vector<std::int32_t> ids_of(const Batch& batch, std::size_t prompt);

struct Setting {
  std::string backend;
  Family family;
};

/// What a failing test prints of its parameter.
void PrintTo(const Setting& setting, std::ostream* out);
/// Every backend with every family.
std::vector<Setting> settings();
std::string setting_name(const ::testing::TestParamInfo<Setting>& setting);

void expect_same_bits(std::span<const float> left, std::span<const float> right);

}  // namespace mg::test
