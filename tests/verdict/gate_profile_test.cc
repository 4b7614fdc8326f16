#include "harness/verdict/gate_profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/core/error.h"

namespace mg {
namespace {

using ::testing::ElementsAre;

const char* const kWeights =
    R"("weights": {"slope_within": 0.01, "residual_at_most": 0.1, "basis": "measured"})";
const char* const kEnd = "\n  hint:     configs/gates holds profiles to copy from";

std::string profile_with(const std::string& gates, const std::string& more = "") {
  return R"({"name": "mine", "for": "tests", "fewest_prompts": 20, )" + (kWeights + more) +
         R"(, "gates": [)" + gates + "]}";
}

std::string gate_with(const std::string& more) {
  return R"({"gate": "kl.mean", "comparison": "total", "metric": "kl", "statistic": "mean",
             "rule": "at-most", "basis": "because")" +
         more + "}";
}

std::string error_of(const std::string& json) {
  try {
    parse_gate_profile(json, "mine.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_error(const std::string& json, const std::string& text) {
  EXPECT_EQ(error_of(json), text + kEnd);
}

TEST(GateProfile, TheCompiledInOnesParse) {
  EXPECT_THAT(builtin_gate_profiles(), ElementsAre("bf16", "qlora", "served", "strict"));
  for (const std::string_view name : builtin_gate_profiles()) {
    const GateProfile profile = load_gate_profile(std::string(name));
    EXPECT_EQ(profile.name, name);
    EXPECT_FALSE(profile.purpose.empty());
    EXPECT_EQ(profile.fewest_prompts, 20);
    EXPECT_FALSE(profile.weights.basis.empty());
    EXPECT_FALSE(profile.gates.empty());
    for (const GateSpec& gate : profile.gates) {
      EXPECT_FALSE(gate.basis.empty()) << gate.gate;
    }
  }
}

// The files that users copy are the ones compiled in.
TEST(GateProfile, TheFilesAreTheCompiledInOnes) {
  for (const std::string_view name : builtin_gate_profiles()) {
    const std::string file =
        std::string(MG_TEST_DATA) + "/../configs/gates/" + std::string(name) + ".json";
    const GateProfile from_file = load_gate_profile(file);
    EXPECT_EQ(from_file.name, name);
    EXPECT_EQ(from_file.gates.size(), load_gate_profile(std::string(name)).gates.size());
  }
}

// The limits of docs/reference/metrics.md section 9.
TEST(GateProfile, StrictHoldsThePublishedLimits) {
  const GateProfile profile = load_gate_profile("strict");
  const auto gate = [&](std::string_view name) {
    for (const GateSpec& spec : profile.gates) {
      if (spec.gate == name) {
        return spec;
      }
    }
    ADD_FAILURE() << name;
    return GateSpec{};
  };
  EXPECT_EQ(gate("kl.mean").limit.value, 1e-4);
  EXPECT_EQ(gate("kl.mean").limit.times_floor, 10.0);
  EXPECT_TRUE(gate("kl.mean").blocking);
  EXPECT_TRUE(gate("kl.mean").slices);
  EXPECT_EQ(gate("kl.p99").limit.value, 1e-3);
  EXPECT_EQ(gate("nll.delta").limit.value, 0.002);
  EXPECT_EQ(gate("nll.delta").rule, GateRule::kEquivalent);
  EXPECT_EQ(gate("merge.slope").lower, 0.98);
  EXPECT_EQ(gate("merge.slope").upper, 1.02);
  EXPECT_EQ(gate("merge.error-ratio").limit.value, 0.05);
  EXPECT_EQ(gate("merge.error-ratio").warn->value, 0.01);
  EXPECT_EQ(gate("flips.real").limit.value, 0.001);
  EXPECT_EQ(profile.weights.slope_within, 0.01);
  EXPECT_EQ(profile.weights.residual_at_most, 0.1);
}

TEST(GateProfile, DefaultFollowsTheStoredDtype) {
  EXPECT_EQ(default_gate_profile(DType::kF16, false), "strict");
  EXPECT_EQ(default_gate_profile(DType::kF32, false), "strict");
  EXPECT_EQ(default_gate_profile(DType::kBF16, false), "bf16");
  EXPECT_EQ(default_gate_profile(DType::kBF16, true), "qlora");
  EXPECT_EQ(default_gate_profile(DType::kF16, true), "qlora");
}

TEST(GateProfile, AMinimalOneIsRead) {
  const GateProfile profile =
      parse_gate_profile(profile_with(gate_with(R"(, "limit": {"times_floor": 3},
                                   "warn": {"value": 1e-5}, "blocking": false)")),
                         "mine.json");
  ASSERT_EQ(profile.gates.size(), 1U);
  EXPECT_EQ(profile.gates[0].limit.times_floor, 3.0);
  EXPECT_EQ(profile.gates[0].limit.value, std::nullopt);
  EXPECT_EQ(profile.gates[0].warn->value, 1e-5);
  EXPECT_FALSE(profile.gates[0].blocking);
  EXPECT_FALSE(profile.gates[0].slices);
}

TEST(GateProfile, KeysThatAreWrongAreNamed) {
  const std::string limit = R"(, "limit": {"value": 1})";
  expect_error(profile_with(gate_with(R"(, "limt": {"value": 1})")),
               "error[gates.missing-key]: gates[0] has no \"limit\"\n  where:    mine.json");
  expect_error(profile_with(gate_with(limit + R"(, "blockng": false)")),
               "error[gates.unknown-key]: gates[0] has an unknown key \"blockng\"\n"
               "  where:    mine.json\n"
               "  expected: basis, blocking, comparison, excused_by_rounding, gate, limit, metric, "
               "rule, slices, statistic, warn");
  expect_error(profile_with(gate_with(R"(, "limit": {"value": 1, "times": 2})")),
               "error[gates.unknown-key]: gates[0].limit has an unknown key \"times\"\n"
               "  where:    mine.json\n  expected: by_bits, times_floor, value");
  expect_error(profile_with(gate_with(limit + limit)),
               "error[gates.duplicate]: key \"limit\" is given twice\n  where:    mine.json");
  expect_error(profile_with(gate_with(limit) + "," + gate_with(limit)),
               "error[gates.duplicate]: gate \"kl.mean\" is given twice\n  where:    mine.json");
}

TEST(GateProfile, ValuesThatAreWrongAreShown) {
  expect_error("{",
               "error[gates.syntax]: the gate profile is not valid JSON\n"
               "  where:    mine.json\n  actual:   byte 2");
  expect_error("[]",
               "error[gates.wrong-type]: the profile is not an object\n"
               "  where:    mine.json\n  expected: an object   actual: array");
  expect_error(profile_with(""),
               "error[gates.wrong-type]: the profile.gates is not a list of gates\n"
               "  where:    mine.json\n  expected: a list with a gate   actual: array");
  expect_error(profile_with(gate_with(R"(, "limit": {"value": "1"})")),
               "error[gates.wrong-type]: gates[0].limit.value has the wrong type\n"
               "  where:    mine.json\n  expected: a number   actual: \"1\"");
  expect_error(profile_with(gate_with(R"(, "limit": {"value": -1})")),
               "error[gates.bad-limit]: gates[0].limit.value is negative\n"
               "  where:    mine.json\n  expected: 0 or more   actual: -1");
  expect_error(profile_with(gate_with(R"(, "limit": {})")),
               "error[gates.bad-limit]: gates[0].limit sets no limit\n"
               "  where:    mine.json\n  expected: \"value\", \"times_floor\" or both");
}

TEST(GateProfile, UnknownNamesListTheKnown) {
  const std::string head = R"({"gate": "x", "comparison": )";
  expect_error(profile_with(head + R"("all", "metric": "kl"})"),
               "error[gates.unknown-name]: gates[0].comparison is not known\n"
               "  where:    mine.json\n  expected: total, tool, other-base   actual: all");
  expect_error(profile_with(head + R"("total", "metric": "kl", "statistic": "p98"})"),
               "error[gates.unknown-name]: gates[0].statistic is not known\n"
               "  where:    mine.json\n  expected: mean, p99, value   actual: p98");
  expect_error(profile_with(head + R"("total", "metric": "kl", "statistic": "value",
                                      "rule": "at-most", "limit": {"value": 1}, "basis": ""})"),
               "error[gates.unknown-name]: gates[0].metric is not known with this statistic\n"
               "  where:    mine.json\n  expected: mer, slope, r2, perplexity_ratio   actual: kl");
}

// A multiple of a floor that nobody measures would be a gate that always passes or never runs.
TEST(GateProfile, OnlyKlHasAFloor) {
  expect_error(profile_with(
                   R"({"gate": "x", "comparison": "total", "metric": "tv", "statistic": "mean",
                       "rule": "at-most", "limit": {"times_floor": 2}, "basis": ""})"),
               "error[gates.bad-limit]: gates[0] refers to a floor that is not measured\n"
               "  where:    mine.json\n  expected: times_floor with the metric kl   actual: tv");
}

TEST(GateProfile, AMissingFileNamesTheCompiledInOnes) {
  try {
    load_gate_profile("strickt");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(
        error.what(),
        "error[gates.not-found]: no gate profile of this name, and no file that can be "
        "read\n  where:    strickt\n  expected: bf16, qlora, served, strict, or a JSON file\n"
        "  hint:     check the spelling and the path");
  }
}

// Fewer bits may cost more: the first list entry for so few, with its own basis.
TEST(GateProfile, LimitsByBitsBecomeTheOneForThisModel) {
  const GateProfile profile = load_gate_profile("served");
  const auto kl = [&](double bits) { return at_bits(profile, bits).gates.front(); };
  EXPECT_EQ(kl(8.5).limit.value, 5e-3);
  EXPECT_EQ(kl(7.5).limit.value, 5e-3);
  EXPECT_EQ(kl(7.4).limit.value, 0.02);
  EXPECT_EQ(kl(4.5).limit.value, 0.12);
  EXPECT_EQ(kl(2.1).limit.value, 1.8);
  EXPECT_EQ(
      kl(16).basis,
      "16 bits a weight: BF16 against FP16 of LLaMA-3-8B: 2.5e-5 (llama.cpp#7150); four times "
      "what was published for this many bits; small models lose more");
  double before = 0;
  for (const double bits : {16.0, 8.5, 6.5, 5.5, 4.5, 3.4, 2.6}) {
    const GateProfile at = at_bits(profile, bits);
    EXPECT_EQ(at.gates.size(), profile.gates.size()) << bits;
    EXPECT_GT(at.gates.front().limit.value, before) << bits;
    before = *at.gates.front().limit.value;
  }
}

TEST(GateProfile, AGateThatIsForMoreBitsAloneIsLeftOut) {
  GateProfile profile = load_gate_profile("served");
  profile.gates.front().limit.by_bits.resize(2);  // down to 7.5 bits
  EXPECT_EQ(at_bits(profile, 4.5).gates.size(), profile.gates.size() - 1);
}

}  // namespace
}  // namespace mg
