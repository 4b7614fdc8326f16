// The adapter on the base it was trained on, in 4 and 8 bits, beside the base that merged was made
// from: lanes, gates and the price of the choice, with the golden's own figures
// (tests/golden/qwen2-nf4/expected.json and its siblings).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/result/status.h"
#include "harness/run/check.h"

namespace mg {
namespace {

const std::filesystem::path kGoldenCases = std::filesystem::path(MG_TEST_DATA) / "golden";

class QuantisedCheck : public ::testing::TestWithParam<const char*> {
 protected:
  Report run(const std::filesystem::path& base, const std::string& merged,
             const std::filesystem::path& trained_on, bool audit = false) const {
    ThreadPool pool(2);
    CheckOptions options;
    options.base = base;
    options.adapter = case_ / "adapter";
    options.merged = case_ / merged;
    options.trained_on = trained_on;
    options.suites = {(case_ / "inputs.jsonl").string()};
    options.audit = audit;
    options.compare.bootstrap.replicates = 200;
    return run_check(options, pool, [](const std::string&, double) {});
  }

  double expected(const std::string& key) const {
    std::ifstream in(case_ / "expected.json");
    return nlohmann::json::parse(in).at(key).get<double>();
  }

  /// KL of two lanes within 4 noises of the golden's: first order in the noise and in sqrt(2 KL).
  /// `apart`: KL between the lane and the golden's own, likewise (Cauchy and Schwarz).
  void expect_kl(const Report& report, const std::string& pair, const std::string& key,
                 double apart = 0) const {
    const auto found =
        std::find_if(report.comparisons.begin(), report.comparisons.end(),
                     [&](const Comparison& c) { return c.reference + "/" + c.subject == pair; });
    ASSERT_NE(found, report.comparisons.end()) << pair;
    const double value = expected(key);
    const double shift = 8 * expected("float32_noise_max_abs");
    EXPECT_NEAR(*find_metric(found->metrics, "kl")->mean, value,
                shift * std::sqrt(2 * value) + shift * shift + 4 * std::sqrt(value * apart))
        << pair;
  }

  static const Finding* find_rule(const Report& report, const std::string& rule) {
    const auto found = std::find_if(report.findings.begin(), report.findings.end(),
                                    [&](const Finding& f) { return f.rule == rule; });
    return found == report.findings.end() ? nullptr : &*found;
  }

  static const Verdict* find_gate(const Report& report, const std::string& gate) {
    const auto found = std::find_if(report.verdicts.begin(), report.verdicts.end(),
                                    [&](const Verdict& v) { return v.gate == gate; });
    return found == report.verdicts.end() ? nullptr : &*found;
  }

  std::filesystem::path case_ = kGoldenCases / GetParam();
  std::filesystem::path sixteen_ = kGoldenCases / "qwen2" / "base";
};

TEST_P(QuantisedCheck, TheCodesAloneCarryAMergeIntoThem) {
  const Report report = run(case_ / "base", "merged", {});
  expect_kl(report, "adapter/merged", "kl_mean(adapter||merged)");
  EXPECT_EQ(find_gate(report, "nll.merge-base"), nullptr);
  EXPECT_FALSE(report.inputs.trained_on.has_value());
}

TEST_P(QuantisedCheck, NoKlGateHoldsAMergeIntoSixteenBitsAgainstTheCodes) {
  const Report report = run(case_ / "base", "merged_16bit_base", {});
  expect_kl(report, "adapter/merged", "kl_mean(adapter||merged_16bit_base)");
  const Verdict* kl = find_gate(report, "kl.mean");
  ASSERT_NE(kl, nullptr);
  EXPECT_FALSE(kl->blocking);
  EXPECT_EQ(report.comparisons.size(), 1U)
      << "no re-merge: the weights behind the codes are not here";
  EXPECT_NE(report.status, RunStatus::kFail);
}

TEST_P(QuantisedCheck, TheAdapterRunsOnTheBaseItWasTrainedOnToo) {
  const Report report = run(sixteen_, "merged_16bit_base", case_ / "base");
  EXPECT_EQ(report.inputs.trained_on, (case_ / "base").string());
  expect_kl(report, "trained/merged", "kl_mean(adapter||merged_16bit_base)");
  const Verdict* likelihood = find_gate(report, "nll.merge-base");
  ASSERT_NE(likelihood, nullptr);
  EXPECT_EQ(likelihood->subject, "trained/merged");
  EXPECT_TRUE(likelihood->blocking);
  const Finding* price = find_rule(report, "compare.merge-base");
  ASSERT_NE(price, nullptr);
  EXPECT_THAT(price->message, ::testing::StartsWith("the price of merging into --base rather than "
                                                    "into the base the adapter was trained on"));
  for (const Verdict& verdict : report.verdicts) {
    if (verdict.gate.starts_with("kl")) {
      EXPECT_EQ(verdict.subject.find("trained"), std::string::npos) << verdict.gate;
    }
  }
}

TEST_P(QuantisedCheck, LanesStandOnTheBaseThatMergedWasMadeFrom) {
  const Report report = run(sixteen_, "merged", case_ / "base", true);
  expect_kl(report, "adapter/merged", "kl_mean(adapter||merged)");
  // The lane is not rounded to F16 as the golden's merge is.
  expect_kl(report, "adapter/given", "kl_mean(adapter||merged_16bit_base)",
            expected("kl_mean(adapter||merged)"));
  const Finding* price = find_rule(report, "compare.merge-base");
  ASSERT_NE(price, nullptr);
  EXPECT_THAT(price->message,
              ::testing::StartsWith("merged was made from the base the adapter was trained on"));
  ASSERT_TRUE(report.audit.has_value());
  EXPECT_EQ(report.audit->recipe.name, "dequantised-fp32");
  EXPECT_TRUE(std::any_of(report.provenance->files.begin(), report.provenance->files.end(),
                          [](const FileRecord& file) { return file.role == "trained-on"; }));
}

INSTANTIATE_TEST_SUITE_P(Cases, QuantisedCheck,
                         ::testing::Values("qwen2-nf4", "qwen2-fp4", "qwen2-int8"),
                         [](const auto& entry) { return std::string(entry.param).substr(6); });

}  // namespace
}  // namespace mg
