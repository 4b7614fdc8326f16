// Logits of every text case of tests/golden against transformers + PEFT in float64, lane by lane.
//
// Tolerance: tests/golden/README.md records, per case, float32_noise_max_abs: how far the reference
// implementation's own float32 lies from its float64.  `cpu` accumulates in float32 as that does,
// in another order: 4 times it. `reference` computes in double, but rotary angles are float32 on
// both sides and torch's pow may differ from ours in the last bit: an angle's relative error 2^-24
// moves a logit as a float32 rounding of q and k would, which is part of the same recorded noise: 1
// times it, plus half an ulp of the float32 in which expected logits are stored.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/lanes/checkpoint_source.h"
#include "harness/lanes/lockstep.h"
#include "harness/run/models.h"
#include "harness/run/prompts.h"
#include "kernels/registry.h"

namespace mg {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(MG_TEST_DATA) / "golden";

constexpr const char* kTextCases[] = {
    "gemma2",     "gemma3",      "gpt2-conv1d",           "llama-embed-lora",
    "llama-tied", "llama3-rope", "mistral-sliding",       "phi3-packed",
    "qwen2",      "qwen2-dora",  "qwen2-modules-to-save", "qwen2-patterns",
    "qwen3",      "qwen3-moe"};

struct Setting {
  std::string name;
  std::string backend;
};

void PrintTo(const Setting& setting, std::ostream* out) {
  *out << setting.name << " on " << setting.backend;
}

class GoldenLogitsTest : public ::testing::TestWithParam<Setting> {};

/// Compares every row as it comes with the float32 logits of the expected file.
class Compare final : public Observer {
 public:
  Compare(const Batch& batch, const SafetensorsFile& expected, double noise, double tolerance)
      : batch_(batch), expected_(expected), noise_(noise), tolerance_(tolerance) {}

  void logits(const LogitChunk& rows) override {
    for (std::size_t lane = 0; lane < kLanes.size(); ++lane) {
      for (std::int64_t r = 0; r < rows.rows; ++r) {
        compare_row(lane, rows.first_row + r, rows.lanes[lane].data() + r * rows.vocab[lane],
                    rows.vocab[lane]);
      }
    }
  }
  double worst() const { return worst_; }
  std::int64_t compared() const { return compared_; }

 private:
  static constexpr std::array<const char*, 3> kLanes{"base", "adapter", "merged"};

  void compare_row(std::size_t lane, std::int64_t row, const float* actual, std::int64_t vocab) {
    std::size_t p = 0;
    while (row >= batch_.prompts[p].begin + batch_.prompts[p].length) {
      ++p;
    }
    const std::string name = batch_.prompts[p].id + "." + kLanes[lane];
    const TensorView view = find(name);
    const std::int64_t offset = (row - batch_.prompts[p].begin) * vocab;
    for (std::int64_t v = 0; v < vocab; ++v) {
      float expected = 0.0F;
      std::memcpy(&expected, view.data + static_cast<std::size_t>(offset + v) * sizeof(float),
                  sizeof(float));
      const double error =
          std::fabs(static_cast<double>(actual[v]) - static_cast<double>(expected));
      const double limit = tolerance_ * noise_ + std::fabs(static_cast<double>(expected)) * 0x1p-24;
      ASSERT_TRUE(error <= limit) << name << " row " << row << " token " << v << ": " << actual[v]
                                  << ", expected " << expected << ", noise " << noise_;
      worst_ = std::max(worst_, error / noise_);
      ++compared_;
    }
  }

  TensorView find(const std::string& name) const {
    for (const SafetensorsRecord& record : expected_.header().records) {
      if (record.name == name) {
        return expected_.view(record);
      }
    }
    ADD_FAILURE() << "no " << name << " in the golden file";
    return {};
  }

  const Batch& batch_;
  const SafetensorsFile& expected_;
  double noise_;
  double tolerance_;
  double worst_ = 0;
  std::int64_t compared_ = 0;
};

TEST_P(GoldenLogitsTest, EveryLaneWithinTheReferencesOwnNoise) {
  const std::filesystem::path folder = kGolden / GetParam().name;
  const OpenModel base(folder / "base");
  const OpenModel merged(folder / "merged");
  const OpenAdapter adapter(folder / "adapter", base);
  CheckpointSource base_source(base.checkpoint, base.model);
  CheckpointSource adapter_source(base.checkpoint, base.model, &adapter.attached);
  CheckpointSource merged_source(merged.checkpoint, merged.model);
  const Prompts prompts = load_prompts({(folder / "inputs.jsonl").string()}, limits_of(base), 0);

  ThreadPool pool(2);
  const std::unique_ptr<Backend> backend = make_backend(
      GetParam().backend, {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = {}});
  const std::vector<Lane> lanes{{"base", &base_source, backend.get()},
                                {"adapter", &adapter_source, backend.get()},
                                {"merged", &merged_source, backend.get()}};
  std::ifstream stream(folder / "expected.json");
  const double noise = nlohmann::json::parse(stream).at("float32_noise_max_abs").get<double>();
  const SafetensorsFile expected = SafetensorsFile::open(folder / "expected.safetensors");
  Compare compare(prompts.batch, expected, noise, GetParam().backend == "reference" ? 1.0 : 4.0);
  run_lockstep(pool, lanes, prompts.batch, {}, compare);
  EXPECT_EQ(compare.compared(), 3 * prompts.batch.tokens() * base.model.config.vocab_size);
  RecordProperty("worst_in_units_of_noise", std::to_string(compare.worst()));
  std::printf("%s on %s: worst difference %.3g of the reference's float32 noise %.3g\n",
              GetParam().name.c_str(), GetParam().backend.c_str(), compare.worst(), noise);
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const std::string& backend : backend_names()) {
    for (const char* name : kTextCases) {
      all.push_back({name, backend});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenLogitsTest, ::testing::ValuesIn(settings()),
                         [](const ::testing::TestParamInfo<Setting>& setting) {
                           std::string name = setting.param.name + "_" + setting.param.backend;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace mg
