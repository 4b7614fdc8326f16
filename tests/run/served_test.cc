// What is served in merged's place, as lanes beside the demo's merge: the same numbers in another
// container differ by nothing, codes by what they round, and faults of a conversion are found.
#include "harness/run/served.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/result/status.h"
#include "harness/run/check.h"
#include "harness/run/demo.h"
#include "kernels/core/error.h"
#include "tests/io/gguf_writer.h"

namespace mg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

TEST(ServedLanes, AreNamedAfterTheirFilesAndToldApart) {
  EXPECT_THAT(
      served_lanes({"a/model-Q4_K_M.gguf", "b/model-Q4_K_M.gguf", "c/merged/", "remerge",
                    "remerge-f16.gguf"}),
      ElementsAre("model-Q4_K_M", "model-Q4_K_M-2", "merged-2", "remerge-2", "remerge-f16-2"));
}

}  // namespace
}  // namespace mg
