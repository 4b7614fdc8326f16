// Logits of every case of tests/golden against transformers + PEFT in float64, lane by lane
// (tolerance: golden_rows.h).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "harness/io/safetensors_writer.h"
#include "harness/lanes/checkpoint_source.h"
#include "harness/lanes/decoder.h"
#include "harness/lanes/lockstep.h"
#include "harness/run/compare.h"
#include "harness/run/demo.h"
#include "harness/run/models.h"
#include "harness/run/prompts.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"
#include "tests/run/golden_rows.h"

namespace mg {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(MG_TEST_DATA) / "golden";

constexpr const char* kCases[] = {"gemma2",
                                  "gemma3",
                                  "gpt2-conv1d",
                                  "llama-embed-lora",
                                  "llama-tied",
                                  "llama3-rope",
                                  "mistral-sliding",
                                  "phi3-packed",
                                  "qwen2",
                                  "qwen2-dora",
                                  "qwen2-modules-to-save",
                                  "qwen2-patterns",
                                  "qwen2-vl",
                                  "qwen3",
                                  "qwen3-moe"};
// Bases that bitsandbytes stored; merged into the dequantised base, and into the 16-bit one.
constexpr const char* kQuantisedCases[] = {"qwen2-nf4", "qwen2-fp4", "qwen2-int8"};

struct Setting {
  std::string name;
  std::string backend;
};

void PrintTo(const Setting& setting, std::ostream* out) {
  *out << setting.name << " on " << setting.backend;
}

class GoldenLogitsTest : public ::testing::TestWithParam<Setting> {};

TEST_P(GoldenLogitsTest, EveryLaneWithinTheReferencesOwnNoise) {
  ThreadPool pool(2);
  std::unique_ptr<Backend> backend;
  try {
    backend = make_backend(GetParam().backend,
                           {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = {}});
  } catch (const Error& error) {
    if (error.parts().code != "backend.unavailable") {
      throw;
    }
    GTEST_SKIP() << error.what();
  }
  const std::filesystem::path folder = kGolden / GetParam().name;
  const OpenModel base(folder / "base");
  const OpenModel merged(folder / "merged");
  const OpenAdapter adapter(folder / "adapter", base);
  CheckpointSource base_source(base.checkpoint, base.model);
  CheckpointSource adapter_source(base.checkpoint, base.model, &adapter.attached);
  CheckpointSource merged_source(merged.checkpoint, merged.model);
  const Prompts prompts =
      load_prompts({(folder / "inputs.jsonl").string()}, limits_of(base), 0, {}, vision_of(base));

  std::vector<Lane> lanes{{"base", &base_source, backend.get()},
                          {"adapter", &adapter_source, backend.get()},
                          {"merged", &merged_source, backend.get()}};
  std::optional<OpenModel> other;  // the quantised cases' other merge
  std::optional<CheckpointSource> other_source;
  if (std::filesystem::exists(folder / "merged_16bit_base")) {
    other.emplace(folder / "merged_16bit_base");
    other_source.emplace(other->checkpoint, other->model);
    lanes.push_back({"merged_16bit_base", &*other_source, backend.get()});
  }
  std::ifstream stream(folder / "expected.json");
  const double noise = nlohmann::json::parse(stream).at("float32_noise_max_abs").get<double>();
  const SafetensorsFile expected = SafetensorsFile::open(folder / "expected.safetensors");
  std::vector<std::string> names;
  for (const Lane& lane : lanes) {
    names.push_back(lane.name);
  }
  test::CompareRows compare(prompts.batch, names, expected, noise,
                            test::golden_tolerance(GetParam().backend));
  run_lockstep(pool, lanes, prompts.batch, {}, compare);
  EXPECT_EQ(compare.compared(), static_cast<std::int64_t>(lanes.size()) * prompts.batch.tokens() *
                                    base.model.config.vocab_size);
  RecordProperty("worst_in_units_of_noise", std::to_string(compare.worst()));
  std::printf("%s on %s: worst difference %.3g of the reference's float32 noise %.3g\n",
              GetParam().name.c_str(), GetParam().backend.c_str(), compare.worst(), noise);
}

/// Every lane's logits, kept.
class KeepLanes final : public Observer {
 public:
  explicit KeepLanes(std::vector<std::vector<float>>& kept) : kept_(kept) {}
  void logits(const LogitChunk& rows) override {
    for (std::size_t lane = 0; lane < kept_.size(); ++lane) {
      kept_[lane].insert(kept_[lane].end(), rows.lanes[lane].begin(), rows.lanes[lane].end());
    }
  }

 private:
  std::vector<std::vector<float>>& kept_;
};

/// What a backend's step-by-step logits may lie from its own whole pass, in units of the recorded
/// noise: nothing on cpu, whose products do not know how many rows they have; elsewhere either may
/// be as far from the truth as the test above allows.
double decoding_slack(const Backend& backend, const std::string& name) {
  return backend.min_stable_rows() == 1 ? 0.0 : name == "reference" ? 2.0 : 8.0;
}

TEST_P(GoldenLogitsTest, DecodingTokenByTokenEqualsOnePass) {
  ThreadPool pool(2);
  std::unique_ptr<Backend> backend;
  try {
    backend = make_backend(GetParam().backend,
                           {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = {}});
  } catch (const Error& error) {
    if (error.parts().code != "backend.unavailable") {
      throw;
    }
    GTEST_SKIP() << error.what();
  }
  const std::filesystem::path folder = kGolden / GetParam().name;
  const OpenModel base(folder / "base");
  const OpenModel merged(folder / "merged");
  const OpenAdapter adapter(folder / "adapter", base);
  CheckpointSource base_source(base.checkpoint, base.model);
  CheckpointSource adapter_source(base.checkpoint, base.model, &adapter.attached);
  CheckpointSource merged_source(merged.checkpoint, merged.model);
  const std::vector<Lane> lanes{{"base", &base_source, backend.get()},
                                {"adapter", &adapter_source, backend.get()},
                                {"merged", &merged_source, backend.get()}};
  const Batch all =
      load_prompts({(folder / "inputs.jsonl").string()}, limits_of(base), 0, {}, vision_of(base))
          .batch;
  Batch batch;  // texts: a decoder is given no images
  for (std::size_t p = 0; p < all.prompts.size(); ++p) {
    PromptContent content = all.content(p, all.prompts[p].length);
    if (content.pictures.empty()) {
      batch.add(all.prompts[p].id, content);
    }
  }
  std::ifstream stream(folder / "expected.json");
  const double noise = nlohmann::json::parse(stream).at("float32_noise_max_abs").get<double>();
  const double slack = decoding_slack(*backend, GetParam().backend) * noise;

  std::vector<std::vector<float>> whole(lanes.size());  // [lane]: [rows, V]
  KeepLanes keep(whole);
  run_lockstep(pool, lanes, batch, {}, keep);
  std::vector<std::int64_t> lengths;
  for (const BatchPrompt& prompt : batch.prompts) {
    lengths.push_back(prompt.length);
  }
  Decoder decoder(lanes, lengths);
  std::int64_t compared = 0;
  for (std::int64_t t = 0; compared < batch.tokens(); ++t) {
    std::vector<NewTokens> step;
    std::vector<std::int64_t> rows;
    for (std::size_t p = 0; p < batch.prompts.size(); ++p) {
      if (t < lengths[p]) {
        rows.push_back(batch.prompts[p].begin + t);
        step.push_back({.prompt = p,
                        .ids = {{batch.ids[static_cast<std::size_t>(rows.back())]}},
                        .rope_length = lengths[p]});
      }
    }
    decoder.advance(step, StepRows::kLast, [&](const LogitChunk& chunk) {
      for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        const std::int64_t vocab = chunk.vocab[lane];
        for (std::int64_t i = 0; i < chunk.rows * vocab; ++i) {
          const std::int64_t row = rows[static_cast<std::size_t>(chunk.first_row + i / vocab)];
          const float expected = whole[lane][static_cast<std::size_t>(row * vocab + i % vocab)];
          const float actual = chunk.lanes[lane][static_cast<std::size_t>(i)];
          ASSERT_TRUE(std::fabs(static_cast<double>(actual - expected)) <= slack)
              << lanes[lane].name << " row " << row << ": " << actual << ", expected " << expected;
        }
      }
    });
    ASSERT_FALSE(HasFatalFailure());
    compared += static_cast<std::int64_t>(rows.size());
  }
}

/// The adapter lane alone, kept.
class KeepRows final : public Observer {
 public:
  void logits(const LogitChunk& rows) override {
    values.insert(values.end(), rows.lanes[0].begin(), rows.lanes[0].end());
  }
  std::vector<float> values;
};

std::vector<float> adapter_logits(const OpenModel& base, const std::filesystem::path& adapter,
                                  const Prompts& prompts) {
  const OpenAdapter opened(adapter, base);
  CheckpointSource source(base.checkpoint, base.model, &opened.attached);
  ThreadPool pool(1);
  const std::unique_ptr<Backend> backend =
      make_backend("cpu", {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = {}});
  const Lane lane{"adapter", &source, backend.get()};
  KeepRows keep;
  run_lockstep(pool, std::span(&lane, 1), prompts.batch, {}, keep);
  return keep.values;
}

/// The base with each layer's experts stacked into gate_up_proj [E, 2M, H] and down_proj [E, H, M],
/// as transformers 5 holds them.
void write_packed(const OpenModel& base, const std::filesystem::path& out) {
  std::filesystem::create_directories(out);
  std::filesystem::copy_file(base.checkpoint.folder() / "config.json", out / "config.json");
  const ModelConfig& config = base.model.config;
  std::vector<TensorPlan> plan;
  std::vector<std::vector<std::byte>> data;
  const auto append = [](std::vector<std::byte>& to, const TensorView& view) {
    to.insert(to.end(), view.data, view.data + view.bytes);
  };
  for (const StoredTensor& tensor : base.checkpoint.tensors()) {
    if (tensor.name.find(".experts.") == std::string::npos) {
      plan.push_back({tensor.name, tensor.view.dtype, tensor.view.shape});
      append(data.emplace_back(), tensor.view);
    }
  }
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    std::vector<std::byte> gate_up;
    std::vector<std::byte> down;
    for (std::int64_t e = 0; e < config.num_experts; ++e) {
      append(gate_up, base.model.find(Role::kExpertGateProj, l, e)->stored->view);
      append(gate_up, base.model.find(Role::kExpertUpProj, l, e)->stored->view);
      append(down, base.model.find(Role::kExpertDownProj, l, e)->stored->view);
    }
    const std::string prefix = "model.layers." + std::to_string(l) + ".mlp.experts.";
    const std::int64_t inner = config.moe_intermediate_size;
    plan.push_back({prefix + "gate_up_proj",
                    DType::kBF16,
                    {config.num_experts, 2 * inner, config.hidden_size}});
    data.push_back(std::move(gate_up));
    plan.push_back(
        {prefix + "down_proj", DType::kBF16, {config.num_experts, config.hidden_size, inner}});
    data.push_back(std::move(down));
  }
  SafetensorsWriter writer(out / "model.safetensors", plan);
  for (const std::vector<std::byte>& bytes : data) {
    writer.write(bytes);
  }
  writer.finish();
}

// tests/run/experts/make.py: PEFT's target_parameters on the experts, computed by transformers +
// PEFT in float64.
TEST(ExpertAdapterTest, FusedPairsReachEveryExpertHoweverTheBaseStoresThem) {
  const std::filesystem::path folder = std::filesystem::path(MG_TEST_DATA) / "run" / "experts";
  const OpenModel base(kGolden / "qwen3-moe" / "base");
  const Prompts prompts =
      load_prompts({(kGolden / "qwen3-moe" / "inputs.jsonl").string()}, limits_of(base), 0);
  const std::vector<float> actual = adapter_logits(base, folder / "adapter", prompts);

  std::ifstream stream(folder / "expected.json");
  const double noise = nlohmann::json::parse(stream).at("float32_noise_max_abs").get<double>();
  const SafetensorsFile expected = SafetensorsFile::open(folder / "expected.safetensors");
  const std::int64_t vocab = base.model.config.vocab_size;
  for (const SafetensorsRecord& record : expected.header().records) {
    const std::string id = record.name.substr(0, record.name.find('.'));
    const auto prompt = std::find_if(prompts.batch.prompts.begin(), prompts.batch.prompts.end(),
                                     [&](const BatchPrompt& each) { return each.id == id; });
    const TensorView view = expected.view(record);
    for (std::int64_t i = 0; i < view.elements(); ++i) {
      float value = 0;
      std::memcpy(&value, view.data + static_cast<std::size_t>(i) * sizeof(float), sizeof(float));
      const float got = actual[static_cast<std::size_t>(prompt->begin * vocab + i)];
      ASSERT_TRUE(std::fabs(static_cast<double>(got - value)) <=
                  4 * noise + std::fabs(static_cast<double>(value)) * 0x1p-24)
          << record.name << " " << i << ": " << got << ", expected " << value;
    }
  }

  const TemporaryFolder packed;
  write_packed(base, packed.path() / "base");
  const OpenModel packed_base(packed.path() / "base");
  ASSERT_TRUE(packed_base.model.config.packed_experts);
  EXPECT_EQ(adapter_logits(packed_base, folder / "adapter", prompts), actual);
}

/// Reference and subject logits of the cpu backend lie within 4 noises of the golden's, so a
/// difference of logits within 8.  KL is a half of the variance of those differences: its error is
/// first order in the noise and in sqrt(2 KL), and second in the noise; JS is a quarter of it.
double slack_of(const std::string& metric, double value, double noise) {
  const double shift = 8 * noise;
  if (metric == "kl" || metric == "reverse_kl" || metric == "js") {
    return shift * std::sqrt(2 * std::fabs(value)) + shift * shift;
  }
  return metric == "top1_same" || metric == "top5_overlap" ? 0.0 : shift;
}

class GoldenMetricsTest : public ::testing::TestWithParam<Setting> {};

TEST_P(GoldenMetricsTest, CompareGivesTheReferencesMetrics) {
  const std::filesystem::path folder = kGolden / GetParam().name;
  const OpenModel base(folder / "base");
  const OpenModel merged(folder / "merged");
  const OpenAdapter adapter(folder / "adapter", base);
  const Prompts prompts =
      load_prompts({(folder / "inputs.jsonl").string()}, limits_of(base), 0, {}, vision_of(base));
  ThreadPool pool(2);
  CompareOptions options;
  options.bootstrap.replicates = 100;
  const CompareRun run =
      compare_lanes(base, adapter, merged, prompts, options, nullptr, pool, [](double) {});
  const Comparison& main = run.comparisons.front();
  std::ifstream stream(folder / "expected.json");
  const nlohmann::json expected = nlohmann::json::parse(stream);
  const double noise = expected.at("float32_noise_max_abs").get<double>();
  const auto near = [&](const std::string& name, std::optional<double> actual, double value) {
    ASSERT_TRUE(actual.has_value()) << name;
    EXPECT_NEAR(*actual, value, 1e-4 * std::fabs(value) + slack_of(name, value, noise)) << name;
  };
  for (const auto& [name, summary] : expected.at("metrics").items()) {
    const MetricSummary* metric =
        find_metric(main.metrics, name == "top1_same" ? "top1_agreement" : name);
    ASSERT_NE(metric, nullptr) << name;
    near(name, metric->mean, summary.at("mean").get<double>());
    near(name, metric->p50, summary.at("median").get<double>());
    near(name, metric->max, summary.at("max").get<double>());
  }
  const MetricSummary* delta = find_metric(main.metrics, "delta_nll");
  ASSERT_NE(delta, nullptr);
  const nlohmann::json& nll = expected.at("mean_nll");
  near("delta_nll", delta->mean, nll.at("merged").get<double>() - nll.at("adapter").get<double>());
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenMetricsTest, ::testing::ValuesIn([] {
                           std::vector<Setting> all;
                           for (const char* name : kCases) {
                             all.push_back({name, "cpu"});
                           }
                           return all;
                         }()),
                         [](const ::testing::TestParamInfo<Setting>& setting) {
                           std::string name = setting.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const std::string& backend : backend_names()) {
    for (const char* name : kCases) {
      all.push_back({name, backend});
    }
    for (const char* name : kQuantisedCases) {
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
