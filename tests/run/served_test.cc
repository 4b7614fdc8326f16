// What is served in merged's place, as lanes beside the demo's merge: the same numbers in another
// container differ by nothing, codes by what they round, and faults of a conversion are found.
#include "harness/run/served.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/io/checkpoint.h"
#include "harness/io/safetensors_writer.h"
#include "harness/result/status.h"
#include "harness/run/check.h"
#include "harness/run/demo.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "tests/io/gguf_writer.h"

namespace mg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kGroup = 32;

/// The matrices of the layers as GPTQ stores them in 8 bits: codes of four inputs in a word, a
/// scale (a power of two) and a zero of 128, kept one less, for 32 inputs of an output.
class GptqWriter {
 public:
  explicit GptqWriter(const std::filesystem::path& model) : model_(Checkpoint::open(model)) {}

  void write(const std::filesystem::path& folder) {
    for (const StoredTensor& tensor : model_.tensors()) {
      const std::string& name = tensor.name;
      if (name.ends_with("_proj.weight")) {
        add_codes(name.substr(0, name.rfind('.')), tensor.view);
      } else {
        add(name, tensor.view.dtype, tensor.view.shape,
            {reinterpret_cast<const char*>(tensor.view.data), tensor.view.bytes});
      }
    }
    std::filesystem::create_directories(folder);
    SafetensorsWriter out(folder / "model.safetensors", plans_);
    for (const std::string& bytes : data_) {
      out.write(std::as_bytes(std::span(bytes)));
    }
    out.finish();
    nlohmann::json config = model_.config();
    config["quantization_config"] = {
        {"quant_method", "gptq"}, {"bits", 8},   {"group_size", kGroup},
        {"desc_act", false},      {"sym", true}, {"checkpoint_format", "gptq"}};
    std::ofstream(folder / "config.json") << config;
  }

 private:
  void add(const std::string& name, DType dtype, Shape shape, std::string bytes) {
    plans_.push_back({.name = name, .dtype = dtype, .shape = std::move(shape)});
    data_.push_back(std::move(bytes));
  }

  void add_codes(const std::string& module, const TensorView& view) {
    const std::int64_t rows = view.dim(0);
    const std::int64_t cols = view.dim(1);
    const std::int64_t groups = cols / kGroup;
    std::vector<float> weights(static_cast<std::size_t>(rows * cols));
    widen_to_float(view.dtype, view.data, rows * cols, weights.data());
    std::string codes(weights.size(), '\0');
    std::string scales(static_cast<std::size_t>(groups * rows) * 2, '\0');
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t group = 0; group < groups; ++group) {
        const float* first = &weights[static_cast<std::size_t>(row * cols + group * kGroup)];
        float largest = 0;
        for (std::int64_t i = 0; i < kGroup; ++i) {
          largest = std::max(largest, std::abs(first[i]));
        }
        const int exponent = std::max(-14, static_cast<int>(std::ceil(std::log2(largest / 127))));
        const auto half = static_cast<std::uint16_t>((exponent + 15) << 10);
        std::memcpy(&scales[static_cast<std::size_t>(group * rows + row) * 2], &half, 2);
        for (std::int64_t i = 0; i < kGroup; ++i) {
          const std::int64_t col = group * kGroup + i;
          const auto at = static_cast<std::size_t>((col / 4 * rows + row) * 4 + col % 4);
          codes[at] = static_cast<char>(std::lround(std::ldexp(first[i], -exponent)) + 128);
        }
      }
    }
    add(module + ".qweight", DType::kI32, {cols / 4, rows}, std::move(codes));
    add(module + ".qzeros", DType::kI32, {groups, rows / 4},
        std::string(static_cast<std::size_t>(groups * rows), '\x7f'));
    add(module + ".scales", DType::kF16, {groups, rows}, std::move(scales));
  }

  Checkpoint model_;
  std::vector<TensorPlan> plans_;
  std::vector<std::string> data_;
};

class ServedTest : public ::testing::Test {
 protected:
  ServedTest() : demo_(write_demo(folder_.path(), "", pool_)) {}

  std::filesystem::path file(const std::string& name) const { return folder_.path() / name; }

  Report compare(const std::vector<std::filesystem::path>& also,
                 const std::function<void(CheckOptions&)>& change = {}) {
    CheckOptions options;
    options.base = demo_.base;
    options.adapter = demo_.adapter;
    options.merged = demo_.merged;
    options.also = also;
    options.audit = false;
    options.digests = false;
    options.compare.bootstrap.replicates = 200;
    options.compare.floor_tokens = 128;
    if (change) {
      change(options);
    }
    return run_check(options, pool_, [](const std::string&, double) {});
  }

  static const Comparison& served(const Report& report, const std::string& lane) {
    const auto found = std::find_if(
        report.comparisons.begin(), report.comparisons.end(),
        [&](const Comparison& c) { return c.reference == "merged" && c.subject == lane; });
    if (found == report.comparisons.end()) {
      throw std::runtime_error(
          "no pair with " + lane +
          (report.error ? ": " + report.error->what + report.error->actual : std::string()));
    }
    return *found;
  }

  static double kl_of(const Comparison& comparison) {
    return find_metric(comparison.metrics, "kl")->mean.value();
  }

  static const Verdict* gate(const Report& report, const std::string& name) {
    const auto found = std::find_if(report.verdicts.begin(), report.verdicts.end(),
                                    [&](const Verdict& v) { return v.gate == name; });
    return found == report.verdicts.end() ? nullptr : &*found;
  }

  static std::vector<std::string> rules_of(const Report& report, Severity severity) {
    std::vector<std::string> rules;
    for (const Finding& finding : report.findings) {
      if (finding.severity == severity) {
        rules.push_back(finding.rule);
      }
    }
    return rules;
  }

  ThreadPool pool_{2};
  TemporaryFolder folder_;
  DemoFolders demo_;
};

TEST_F(ServedTest, TheSameNumbersInAnotherContainerDifferByNothing) {
  gguf_of_llama(demo_.merged).write(file("f16.gguf"));
  gguf_of_llama(demo_.merged, GgufStorage::kF32).write(file("f32.gguf"));
  const Report report = compare({file("f16.gguf"), file("f32.gguf"), demo_.merged});
  EXPECT_EQ(report.status, RunStatus::kPass);
  ASSERT_EQ(report.also.size(), 3U);
  for (const char* lane : {"f16", "f32", "merged-2"}) {
    const Comparison& same = served(report, lane);
    EXPECT_EQ(find_metric(same.metrics, "kl")->max, 0.0) << lane;
    EXPECT_EQ(find_metric(same.metrics, "max_abs")->max, 0.0) << lane;
    EXPECT_EQ(same.flips.real, 0) << lane;
    ASSERT_FALSE(same.layers.empty());
    for (const LayerDrift& half : same.layers) {
      EXPECT_EQ(half.free_rel, 0.0) << lane << " layer " << half.place.layer;
      EXPECT_EQ(half.forced_rel, 0.0) << lane << " layer " << half.place.layer;
    }
    EXPECT_FALSE(same.culprit.has_value());
  }
  EXPECT_EQ(report.also[0].format, "GGUF 3");
  EXPECT_EQ(report.also[1].bits_per_weight, 32.0);
  EXPECT_EQ(report.also[2].format, "safetensors");
}

TEST_F(ServedTest, TheMainPairKeepsItsNumbers) {
  gguf_of_llama(demo_.merged, GgufStorage::kQ8_0).write(file("q8.gguf"));
  const Report alone = compare({});
  const Report beside = compare({file("q8.gguf")});
  const Comparison& left = alone.comparisons.front();
  const Comparison& right = beside.comparisons.front();
  EXPECT_EQ(kl_of(left), kl_of(right));
  ASSERT_EQ(left.layers.size(), right.layers.size());
  for (std::size_t i = 0; i < left.layers.size(); ++i) {
    EXPECT_EQ(left.layers[i].forced_rel, right.layers[i].forced_rel);
  }
}

TEST_F(ServedTest, EightBitsPassTheirGatesAndSayWhatTheyAre) {
  gguf_of_llama(demo_.merged, GgufStorage::kQ8_0).write(file("q8.gguf"));
  const Report report = compare({file("q8.gguf")});
  EXPECT_EQ(report.status, RunStatus::kPass);
  EXPECT_EQ(report.also.front().bits_per_weight, 8.5);
  EXPECT_EQ(report.also.front().stored.front().format, "Q8_0");
  const Comparison& pair = served(report, "q8");
  EXPECT_GT(kl_of(pair), 0.0);
  EXPECT_NEAR(pair.ratios.slope.value.value(), 1.0, 0.02);
  const Verdict* kl = gate(report, "served.kl[q8]");
  ASSERT_NE(kl, nullptr);
  EXPECT_EQ(kl->status, GateStatus::kPass);
  EXPECT_EQ(kl->subject, "merged/q8");
  EXPECT_THAT(kl->basis, HasSubstr("8.5 bits a weight: Q8_0: 2.4e-4..1.4e-3"));
  EXPECT_THAT(rules_of(report, Severity::kWarning), ElementsAre());
}

TEST_F(ServedTest, AFolderOfCodesIsALaneToo) {
  GptqWriter(demo_.merged).write(file("gptq"));
  const Report report = compare({file("gptq")});
  EXPECT_EQ(report.status, RunStatus::kPass) << (report.error ? report.error->what : "");
  EXPECT_EQ(report.also.front().stored.front().format, "GPTQ-8");
  EXPECT_EQ(report.also.front().bits_per_weight, 8.75);  // 16 + 8 bits for 32 weights
  const Comparison& pair = served(report, "gptq");
  EXPECT_GT(kl_of(pair), 0.0);
  EXPECT_NEAR(pair.ratios.slope.value.value(), 1.0, 0.02);
  EXPECT_EQ(gate(report, "served.kl[gptq]")->status, GateStatus::kPass);
}

TEST_F(ServedTest, AFolderMadeOfTheBaseIsNamedAsSuch) {
  GptqWriter(demo_.base).write(file("gptq"));
  EXPECT_THAT(rules_of(compare({file("gptq")}), Severity::kError),
              ElementsAre("served.not-merged"));
}

TEST_F(ServedTest, AFileOfTheBaseIsNamedAsSuch) {
  gguf_of_llama(demo_.base, GgufStorage::kQ8_0).write(file("base.gguf"));
  const Report report = compare({file("base.gguf")});
  EXPECT_EQ(report.status, RunStatus::kFail);
  EXPECT_THAT(rules_of(report, Severity::kError), ElementsAre("served.not-merged"));
  EXPECT_EQ(gate(report, "served.slope[base-2]")->status, GateStatus::kFail);
  EXPECT_LT(served(report, "base-2").ratios.slope.value.value(), 0.1);
}

TEST_F(ServedTest, ALayerThatWasConvertedWronglyIsNamed) {
  GgufWriter writer = gguf_of_llama(demo_.merged, GgufStorage::kQ8_0);
  std::swap(writer.bytes_of("blk.3.ffn_gate.weight"), writer.bytes_of("blk.3.ffn_up.weight"));
  writer.write(file("swapped.gguf"));
  const Report report = compare({file("swapped.gguf")});
  EXPECT_EQ(report.status, RunStatus::kFail);
  const Comparison& pair = served(report, "swapped");
  ASSERT_TRUE(pair.culprit.has_value());
  EXPECT_EQ(pair.culprit->layer, 3);
  EXPECT_EQ(pair.culprit->module, "mlp");
  EXPECT_THAT(rules_of(report, Severity::kWarning), ElementsAre("served.layer-departs"));
  EXPECT_FALSE(report.comparisons.front().culprit.has_value());
}

TEST_F(ServedTest, ANumberThatIsNoneIsTheFilesOwnFault) {
  GgufWriter writer = gguf_of_llama(demo_.merged, GgufStorage::kF32);
  const float nan = std::nanf("");
  std::memcpy(writer.bytes_of("blk.2.ffn_down.weight").data(), &nan, sizeof(nan));
  writer.write(file("nan.gguf"));
  const Report report = compare({file("nan.gguf")});
  EXPECT_EQ(report.status, RunStatus::kFail);
  EXPECT_THAT(rules_of(report, Severity::kError),
              ElementsAre("served.non-finite", "served.non-finite"));
  EXPECT_EQ(gate(report, "served.finite[nan]")->status, GateStatus::kFail);
  EXPECT_EQ(gate(report, "guard.finite")->status, GateStatus::kPass);
}

TEST_F(ServedTest, AnotherModelIsRefusedWithBothSizes) {
  GgufWriter writer = gguf_of_llama(demo_.merged);
  writer.number("llama.feed_forward_length", 400);
  writer.write(file("other.gguf"));
  const Report report = compare({file("other.gguf")});
  EXPECT_EQ(report.status, RunStatus::kInputError);
  ASSERT_TRUE(report.error.has_value());
  EXPECT_EQ(report.error->code, "served.architecture");
  EXPECT_EQ(report.error->expected, "384 intermediate size");
  EXPECT_EQ(report.error->actual, "400 intermediate size");
}

TEST_F(ServedTest, GatesOfTheUsersOwnTakeTheirPlace) {
  gguf_of_llama(demo_.merged, GgufStorage::kQ8_0).write(file("q8.gguf"));
  std::ifstream in(std::filesystem::path(MG_TEST_DATA) / "../configs/gates/served.json");
  nlohmann::json profile = nlohmann::json::parse(in);
  profile["name"] = "mine";
  profile["gates"][0]["limit"] = {{"value", 0.0}};
  std::ofstream(file("mine.json")) << profile;
  const Report report = compare(
      {file("q8.gguf")}, [&](CheckOptions& o) { o.also_gates = file("mine.json").string(); });
  EXPECT_EQ(report.status, RunStatus::kFail);
  EXPECT_EQ(report.also.front().gates, "mine");
  EXPECT_EQ(gate(report, "served.kl[q8]")->status, GateStatus::kFail);
}

TEST_F(ServedTest, RowsOfTheVocabularyThatOnlyOneHasAreCounted) {
  const OpenModel merged(demo_.merged);
  OpenServed padded{
      .path = demo_.merged, .lane = "padded", .model = std::make_unique<OpenModel>(demo_.merged)};
  EXPECT_TRUE(vocabulary_findings(padded, merged).empty());
  padded.model->model.config.vocab_size += 64;
  const Finding more = vocabulary_findings(padded, merged).at(0);
  EXPECT_EQ(more.rule, "served.vocabulary");
  EXPECT_EQ(more.severity, Severity::kWarning);
  EXPECT_EQ(more.message,
            "padded has 64 rows of logits more than merged: they are left out of every comparison "
            "of this run");
  EXPECT_EQ(more.actual, "2112 tokens");
  padded.model->model.config.vocab_size -= 128;
  EXPECT_THAT(vocabulary_findings(padded, merged).at(0).message,
              HasSubstr("has 64 rows of logits fewer than merged"));
}

Comparison with_ratios(Interval slope, Interval lost) {
  Comparison comparison;
  comparison.reference = "merged";
  comparison.subject = "q2";
  comparison.ratios.slope.value = slope.lower;
  comparison.ratios.slope.ci95 = slope;
  comparison.ratios.mer.value = lost.upper;
  comparison.ratios.mer.ci95 = lost;
  return comparison;
}

// Both rules ask for an interval that lies wholly on the wrong side.
TEST(ServedEffect, IsBuriedWhereTheNoiseIsSurelyLargerThanTheFineTune) {
  EXPECT_TRUE(effect_findings(with_ratios({0.9, 1.1}, {0.2, 0.9})).empty());
  EXPECT_TRUE(effect_findings(with_ratios({0.9, 1.1}, {0.9, 1.4})).empty());
  const Finding buried = effect_findings(with_ratios({0.9, 1.1}, {1.2, 1.5})).at(0);
  EXPECT_EQ(buried.rule, "served.effect-buried");
  EXPECT_EQ(buried.severity, Severity::kWarning);
  EXPECT_EQ(buried.actual, "1.5 times that");
}

TEST(ServedEffect, IsAbsentWhereTheSlopeIsSurelyNearNothing) {
  EXPECT_TRUE(effect_findings(with_ratios({0.4, 0.6}, {0.2, 0.9})).empty());
  const std::vector<Finding> found = effect_findings(with_ratios({-0.1, 0.1}, {0.9, 1.4}));
  ASSERT_EQ(found.size(), 1U);  // and not the other rule beside it
  EXPECT_EQ(found.front().rule, "served.not-merged");
  EXPECT_EQ(found.front().actual, "-0.1, 95 % interval [-0.1, 0.1]");
}

TEST(ServedLanes, AreNamedAfterTheirFilesAndToldApart) {
  EXPECT_THAT(
      served_lanes({"a/model-Q4_K_M.gguf", "b/model-Q4_K_M.gguf", "c/merged/", "remerge",
                    "remerge-f16.gguf"}),
      ElementsAre("model-Q4_K_M", "model-Q4_K_M-2", "merged-2", "remerge-2", "remerge-f16-2"));
}

}  // namespace
}  // namespace mg
