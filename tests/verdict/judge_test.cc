#include "harness/verdict/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "harness/result/status.h"
#include "harness/verdict/floor.h"
#include "tests/metrics/synthetic_suite.h"

namespace mg {
namespace {

using test::LaneLogits;
using test::SyntheticSuite;

Floor measured_floor(double kl_mean = 1e-7) {
  Floor floor;
  floor.kl_mean = kl_mean;
  floor.kl_p99 = 10.0 * kl_mean;
  floor.flip_margin = 0.01;
  floor.basis = "adapter lane, exact against fp16 arithmetic, 8 prompts";
  return floor;
}

// base + share * (reference - base) + noise
LaneLogits merge(const SyntheticSuite& suite, float share, float noise = 0.0F, unsigned seed = 3) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  LaneLogits out = suite.base;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] += share * (suite.reference[i] - suite.base[i]) + noise * normal(random);
  }
  return out;
}

SummaryOptions fast_options() {
  SummaryOptions options;
  options.bootstrap.replicates = 500;
  options.context.flip_margin = 0.01;
  return options;
}

struct Judged {
  Comparison total;
  std::optional<Comparison> tool;
  std::optional<Comparison> rounding;
  std::optional<Comparison> other;
  JudgeInputs inputs;
  Judgement judgement;
  RunStatus status = RunStatus::kPass;

  const Verdict& verdict(const std::string& gate) const {
    for (const Verdict& candidate : judgement.verdicts) {
      if (candidate.gate == gate) {
        return candidate;
      }
    }
    ADD_FAILURE() << "no verdict " << gate;
    return judgement.verdicts.front();
  }

  std::set<std::string> rules() const {
    std::set<std::string> names;
    for (const Finding& finding : judgement.findings) {
      names.insert(finding.rule);
    }
    return names;
  }
};

void judge_run(Judged& run, const std::string& profile) {
  run.inputs.total = &run.total;
  run.inputs.tool = run.tool ? &*run.tool : nullptr;
  run.inputs.rounding = run.rounding ? &*run.rounding : nullptr;
  run.inputs.other = run.other ? &*run.other : nullptr;
  run.judgement = judge(run.inputs, at_bits(load_gate_profile(profile), 8.5));
  StatusInputs status;
  status.findings = run.judgement.findings;
  status.verdicts = run.judgement.verdicts;
  run.status = decide_status(status);
}

// A subject that equals its re-merge, unless the caller changes the inputs.
Judged prepare(const SyntheticSuite& suite, const LaneLogits& subject) {
  Judged run;
  run.total = suite.compare(subject, fast_options());
  run.inputs.remerge_is_merged = true;
  run.inputs.self_compare_exact = true;
  run.inputs.floor = measured_floor();
  return run;
}

Judged judged(const SyntheticSuite& suite, const LaneLogits& subject,
              const std::string& profile = "strict") {
  Judged run = prepare(suite, subject);
  judge_run(run, profile);
  return run;
}

TEST(Judge, TheFloorOfKlStandsBesideKlAlone) {
  const SyntheticSuite suite(24, 150, 40);
  const Judged run = judged(suite, merge(suite, 1.0F, 1e-4F));
  const auto floor_beside = [&run](std::string_view gate) {
    const auto found = std::find_if(run.judgement.verdicts.begin(), run.judgement.verdicts.end(),
                                    [&](const Verdict& verdict) { return verdict.gate == gate; });
    EXPECT_NE(found, run.judgement.verdicts.end()) << gate;
    return found->floor.has_value();
  };
  EXPECT_TRUE(floor_beside("kl.mean"));
  EXPECT_TRUE(floor_beside("guard.effect")) << "a KL as well";
  EXPECT_FALSE(floor_beside("nll.delta"));
  EXPECT_FALSE(floor_beside("flips.real"));
  EXPECT_FALSE(floor_beside("merge.slope"));
  EXPECT_FALSE(floor_beside("merge.error-ratio"));
}

TEST(Judge, AGoodMergePassesEveryGate) {
  const SyntheticSuite suite(24, 150, 40);
  const Judged run = judged(suite, merge(suite, 1.0F, 1e-4F));
  for (const Verdict& verdict : run.judgement.verdicts) {
    if (verdict.gate != "kl.p99") {  // 3,600 rows do not make a p99
      EXPECT_EQ(verdict.status, GateStatus::kPass) << verdict.gate << ": " << verdict.reason;
    }
    EXPECT_FALSE(verdict.reason.empty()) << verdict.gate;
    EXPECT_FALSE(verdict.subject.empty()) << verdict.gate;
  }
  EXPECT_TRUE(run.judgement.findings.empty());
  EXPECT_EQ(run.status, RunStatus::kPass);
}

TEST(Judge, TheUnmergedCheckpointIsF07) {
  const SyntheticSuite suite;
  const Judged run = judged(suite, suite.base);
  EXPECT_THAT(run.rules(), ::testing::ElementsAre("compare.not-merged"));
  EXPECT_EQ(run.judgement.findings[0].catalogue, std::vector<std::string>{"F07"});
  EXPECT_EQ(run.judgement.findings[0].severity, Severity::kError);
  EXPECT_EQ(run.judgement.findings[0].message,
            "merged behaves like the base although the adapter does not: the adapter is not in it");
  EXPECT_EQ(run.verdict("guard.merged-differs-from-base").status, GateStatus::kInvalid);
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kInvalid);
  EXPECT_EQ(run.status, RunStatus::kFail);
}

// A small adapter must not hide: 99 % of first tokens agree and KL is below its limit, yet nothing
// was merged.
TEST(Judge, ASmallAdapterDoesNotHideAnUnmergedCheckpoint) {
  const SyntheticSuite suite(30, 60, 40, 2, 0.007F);
  const Judged run = judged(suite, suite.base);
  EXPECT_GE(*find_metric(run.total.metrics, "top1_agreement")->mean, 0.99);
  EXPECT_LT(find_metric(run.total.metrics, "kl")->ci90->upper, 1e-4);
  EXPECT_EQ(run.status, RunStatus::kFail);
  EXPECT_TRUE(run.rules().contains("compare.not-merged"));
}

TEST(Judge, ASmallAdapterDoesNotHideAHalfMergedCheckpoint) {
  const SyntheticSuite suite(30, 60, 40, 2, 0.007F);
  const Judged run = judged(suite, merge(suite, 0.5F));
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kPass);
  EXPECT_EQ(run.verdict("nll.delta").status, GateStatus::kPass);
  EXPECT_EQ(run.verdict("merge.slope").status, GateStatus::kFail);
  EXPECT_EQ(run.verdict("merge.error-ratio").status, GateStatus::kFail);
  EXPECT_NEAR(*run.verdict("merge.error-ratio").value, 0.25, 0.01);
  EXPECT_EQ(run.status, RunStatus::kFail);
}

// A right merge of a weak adapter, attenuated by rounding, may come to lie below the floor: no F07
// for that.
TEST(Judge, AnEffectNearTheFloorIsNoProofOfAMissingMerge) {
  const SyntheticSuite suite(30, 60, 40, 2, 0.007F);
  Judged run = prepare(suite, merge(suite, 0.9F));
  const double effect = *find_metric(run.total.metrics, "kl_base")->mean;
  run.inputs.floor = measured_floor(0.9 * effect);
  judge_run(run, "bf16");
  EXPECT_EQ(run.verdict("guard.effect").status, GateStatus::kPass);
  EXPECT_EQ(run.verdict("guard.merged-differs-from-base").status, GateStatus::kInvalid);
  EXPECT_FALSE(run.rules().contains("compare.not-merged"));
  EXPECT_EQ(run.status, RunStatus::kInvalid);
}

TEST(Judge, TheSlopeNamesTheLikelyCause) {
  const SyntheticSuite suite;
  const auto reason = [&](float share) {
    return judged(suite, merge(suite, share)).verdict("merge.slope").reason;
  };
  EXPECT_THAT(reason(2.0F),
              ::testing::EndsWith("near 2: merged twice, or the scale applied twice (F18, F19)"));
  EXPECT_THAT(reason(0.5F), ::testing::EndsWith("(F08, F19, F30)"));
  EXPECT_THAT(reason(0.02F), ::testing::EndsWith("(F07)"));
  EXPECT_THAT(reason(-1.0F), ::testing::EndsWith("(F23)"));
  EXPECT_THAT(reason(4.0F), ::testing::EndsWith("(F18, F19, F20)"));
}

TEST(Judge, AnAdapterWithoutEffectIsInvalid) {
  const SyntheticSuite suite(24, 30, 40, 1, 1e-5F);
  const Judged run = judged(suite, merge(suite, 1.0F, 1e-6F));
  EXPECT_EQ(run.verdict("guard.effect").status, GateStatus::kInvalid);
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kInvalid);
  EXPECT_EQ(run.verdict("merge.slope").status, GateStatus::kInvalid);
  EXPECT_EQ(run.status, RunStatus::kInvalid);
  EXPECT_FALSE(run.rules().contains("compare.not-merged"));
}

// ... but what is broken stays broken.
TEST(Judge, ABrokenMergeOfAnAdapterWithoutEffectFails) {
  const SyntheticSuite suite(24, 30, 40, 1, 1e-5F);
  const Judged run = judged(suite, merge(suite, 1.0F, 1.0F));
  EXPECT_EQ(run.verdict("guard.effect").status, GateStatus::kInvalid);
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kFail);
  EXPECT_EQ(run.status, RunStatus::kFail);
}

TEST(Judge, ExactlyEqualLogitsAreSuspicious) {
  const SyntheticSuite suite;
  Judged run = judged(suite, suite.reference);
  EXPECT_EQ(run.verdict("guard.exact-zero").status, GateStatus::kInvalid);
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kInvalid);
  EXPECT_EQ(run.status, RunStatus::kInvalid);
  run.inputs.same_weights = true;
  judge_run(run, "strict");
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kPass);
}

TEST(Judge, ALaneThatDiffersFromItselfMakesEverythingInvalid) {
  const SyntheticSuite suite;
  Judged run = prepare(suite, merge(suite, 1.0F, 1e-4F));
  run.inputs.self_compare_exact = false;
  judge_run(run, "strict");
  EXPECT_EQ(run.verdict("guard.self-compare").status, GateStatus::kInvalid);
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kInvalid);
  EXPECT_EQ(run.status, RunStatus::kInvalid);
  run.inputs.self_compare_exact.reset();
  judge_run(run, "strict");
  EXPECT_EQ(run.verdict("guard.self-compare").status, GateStatus::kNotRun);
  EXPECT_EQ(run.status, RunStatus::kInconclusive);
}

TEST(Judge, NonFiniteMergedIsTheMergesFault) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    const SyntheticSuite suite;
    LaneLogits subject = merge(suite, 1.0F, 1e-4F);
    suite.at(subject, 11, 7) = bad;
    const Judged run = judged(suite, subject);
    EXPECT_EQ(run.verdict("guard.finite").status, GateStatus::kFail);
    EXPECT_EQ(run.verdict("guard.finite").value, 1.0);
    EXPECT_EQ(run.verdict("guard.finite").reason,
              "not finite: first in merged at prompt p1, position 3");
    EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kInvalid);
    ASSERT_EQ(run.judgement.findings.size(), 1U);
    EXPECT_EQ(run.judgement.findings[0].rule, "compare.non-finite-merged");
    EXPECT_EQ(run.judgement.findings[0].actual,
              "1 logits in 1 rows, first at prompt p1, position 3");
    EXPECT_EQ(run.status, RunStatus::kFail);
  }
}

TEST(Judge, NonFiniteReferenceIsNotTheMergesFault) {
  SyntheticSuite suite;
  const LaneLogits subject = merge(suite, 1.0F, 1e-4F);
  suite.at(suite.reference, 0, 0) = std::numeric_limits<float>::quiet_NaN();
  const Judged run = judged(suite, subject);
  EXPECT_TRUE(run.rules().contains("compare.non-finite-inputs"));
  EXPECT_FALSE(run.rules().contains("compare.non-finite-merged"));
  EXPECT_EQ(run.status, RunStatus::kFail);
}

TEST(Judge, NothingFiniteStillEndsWithVerdicts) {
  const SyntheticSuite suite;
  const LaneLogits subject(suite.base.size(), std::numeric_limits<float>::quiet_NaN());
  const Judged run = judged(suite, subject);
  EXPECT_EQ(run.status, RunStatus::kFail);
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kFail);
  EXPECT_EQ(run.verdict("kl.mean").reason, "kl could not be computed from this run");
  EXPECT_EQ(run.verdict("kl.mean").value, std::nullopt);
}

TEST(Judge, FewPromptsAreAtBestInconclusive) {
  const SyntheticSuite suite(12, 60, 40);
  const Judged good = judged(suite, merge(suite, 1.0F, 1e-4F));
  EXPECT_EQ(good.verdict("kl.mean").status, GateStatus::kInconclusive);
  EXPECT_EQ(good.verdict("kl.mean").reason, "12 prompts are too few to judge; 20 are needed");
  EXPECT_EQ(good.status, RunStatus::kInconclusive);
  EXPECT_EQ(judged(suite, merge(suite, 1.0F, 1.0F)).status, RunStatus::kFail);
  const SyntheticSuite tiny(3, 60, 40);
  EXPECT_EQ(judged(tiny, merge(tiny, 1.0F, 1.0F)).verdict("kl.mean").status,
            GateStatus::kInconclusive);
  EXPECT_EQ(judged(tiny, tiny.base).status, RunStatus::kFail);  // F07 needs no sample
}

TEST(Judge, ASmallP99IsAdvisoryAndSaysWhatIsMissing) {
  const SyntheticSuite suite(25, 20, 30);
  const Verdict verdict = judged(suite, merge(suite, 1.0F, 1e-4F)).verdict("kl.p99");
  EXPECT_EQ(verdict.status, GateStatus::kInconclusive);
  EXPECT_FALSE(verdict.blocking);
  EXPECT_EQ(verdict.reason, "a p99 needs 10000 rows, this run has 500: 9500 are missing");
  EXPECT_EQ(verdict.needs_prompts, 500);
}

TEST(Judge, ALargeP99Blocks) {
  const SyntheticSuite suite(25, 400, 12);
  const Verdict good = judged(suite, merge(suite, 1.0F, 1e-4F)).verdict("kl.p99");
  EXPECT_EQ(good.status, GateStatus::kPass) << good.reason;
  EXPECT_TRUE(good.blocking);
  LaneLogits heavy_tail = merge(suite, 1.0F, 1e-4F);
  for (std::int64_t row = 0; row < suite.rows(); row += 20) {
    for (std::int64_t v = 0; v < suite.V; ++v) {
      suite.at(heavy_tail, row, v) *= 2.0F;
    }
  }
  EXPECT_EQ(judged(suite, heavy_tail).verdict("kl.p99").status, GateStatus::kFail);
}

TEST(Judge, SlicesAreJudgedAndNeverBlock) {
  const SyntheticSuite suite(24, 20, 30);
  LaneLogits subject = merge(suite, 1.0F, 1e-4F);
  SliceSpec slice{"special-tokens", {}};
  for (std::int64_t prompt = 0; prompt < suite.prompts; ++prompt) {
    slice.ranges.push_back({prompt, 5, 6});
    for (std::int64_t v = 0; v < suite.V; ++v) {
      suite.at(subject, prompt * suite.T + 5, v) *= 1.5F;
    }
  }
  SummaryOptions options = fast_options();
  options.slices = {slice, {"empty", {}}};
  Judged run = prepare(suite, subject);
  run.total = suite.compare(subject, options);
  judge_run(run, "strict");
  EXPECT_EQ(run.verdict("kl.mean[special-tokens]").status, GateStatus::kFail);
  EXPECT_FALSE(run.verdict("kl.mean[special-tokens]").blocking);
  EXPECT_EQ(run.verdict("kl.mean[empty]").status, GateStatus::kNotRun);
}

// What the tool added is judged apart from what rounding costs.
TEST(Judge, TheToolIsJudgedAgainstTheRemerge) {
  const SyntheticSuite suite(24, 40, 40);
  const LaneLogits remerge = merge(suite, 1.0F, 0.02F, 5);
  const auto run_with = [&](const LaneLogits& subject) {
    Judged run = prepare(suite, subject);
    SyntheticSuite against_remerge = suite;
    against_remerge.reference = remerge;
    run.tool = against_remerge.compare(subject, fast_options());
    run.tool->reference = "remerge";
    run.rounding = suite.compare(remerge, fast_options());
    run.inputs.remerge_is_merged = false;
    judge_run(run, "bf16");
    return run;
  };
  LaneLogits stray_ulps = remerge;
  for (std::size_t i = 0; i < stray_ulps.size(); i += 50) {
    stray_ulps[i] = std::nextafter(stray_ulps[i], 1e9F);
  }
  const Judged good = run_with(stray_ulps);
  EXPECT_EQ(good.verdict("kl.tool").status, GateStatus::kPass);
  EXPECT_EQ(good.verdict("kl.tool").subject, "remerge/merged");
  EXPECT_EQ(good.verdict("merge.slope").status, GateStatus::kPass);
  LaneLogits sloppy = remerge;
  std::mt19937_64 random(9);
  std::normal_distribution<float> normal(0.0F, 0.1F);
  for (float& z : sloppy) {
    z += normal(random);
  }
  const Judged bad = run_with(sloppy);
  EXPECT_EQ(bad.verdict("kl.tool").status, GateStatus::kFail);
  EXPECT_EQ(bad.status, RunStatus::kFail);
}

TEST(Judge, WithoutARemergeItsGatesAreNotRun) {
  const SyntheticSuite suite(24, 40, 40);
  Judged run = prepare(suite, merge(suite, 1.0F, 1e-4F));
  run.inputs.remerge_is_merged = false;
  judge_run(run, "bf16");
  EXPECT_EQ(run.verdict("kl.tool").status, GateStatus::kNotRun);
  EXPECT_EQ(run.verdict("merge.slope").status, GateStatus::kNotRun);
  EXPECT_EQ(run.status, RunStatus::kInconclusive);
}

// BF16 rounding attenuates: a slope of 0.9 is right where the re-merge has it too, and wrong where
// it has not.
TEST(Judge, Bf16SlopesAreHeldAgainstTheRemerges) {
  const SyntheticSuite suite(24, 40, 40);
  Judged run = prepare(suite, merge(suite, 0.9F, 1e-4F));
  run.inputs.remerge_is_merged = false;
  run.rounding = suite.compare(merge(suite, 0.9F, 1e-4F, 7), fast_options());
  judge_run(run, "bf16");
  EXPECT_EQ(run.verdict("merge.slope").status, GateStatus::kPass);
  EXPECT_NEAR(*run.verdict("merge.slope").lower_limit, 0.88, 1e-3);
  run.rounding = suite.compare(merge(suite, 1.0F, 1e-4F, 7), fast_options());
  judge_run(run, "bf16");
  EXPECT_EQ(run.verdict("merge.slope").status, GateStatus::kFail);
}

TEST(Judge, LossByRoundingAloneIsAWarning) {
  const SyntheticSuite suite(24, 40, 40, 1, 0.05F);
  Judged run = judged(suite, merge(suite, 0.7F), "bf16");  // MER = 0.09, and merged is its re-merge
  EXPECT_EQ(run.verdict("merge.error-ratio").status, GateStatus::kPass);
  EXPECT_THAT(run.verdict("merge.error-ratio").reason,
              ::testing::HasSubstr("no more than rounding to the stored dtype costs by itself"));
  ASSERT_TRUE(run.rules().contains("compare.rounding-cost"));
  EXPECT_EQ(run.judgement.findings[0].severity, Severity::kWarning);
  EXPECT_EQ(run.judgement.findings[0].catalogue, std::vector<std::string>{"F30"});
  // The same loss where the re-merge does not have it.
  run.inputs.remerge_is_merged = false;
  run.rounding = suite.compare(merge(suite, 0.99F), fast_options());
  judge_run(run, "bf16");
  EXPECT_EQ(run.verdict("merge.error-ratio").status, GateStatus::kFail);
}

TEST(Judge, BetweenWarningAndLimitIsAWarning) {
  const SyntheticSuite suite(24, 40, 40);
  const Judged run =
      judged(suite, merge(suite, 1.0F, 0.07F), "bf16");  // KL about 0.07^2/2 = 2.4e-3
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kPass);
  EXPECT_TRUE(run.rules().contains("compare.rounding-cost"));
  EXPECT_FALSE(
      judged(suite, merge(suite, 1.0F, 0.01F), "bf16").rules().contains("compare.rounding-cost"));
}

// F28: against the 4-bit path KL is large by nature; what counts is that text is not predicted
// worse.
TEST(Judge, TheQloraProfileAsksForLikelihoodOnly) {
  const SyntheticSuite suite(40, 60, 40);
  const Judged run = judged(suite, merge(suite, 1.0F, 0.2F), "qlora");
  EXPECT_EQ(run.verdict("kl.mean").status, GateStatus::kFail);
  EXPECT_FALSE(run.verdict("kl.mean").blocking);
  EXPECT_NE(run.verdict("nll.not-worse").status, GateStatus::kFail);
  EXPECT_NE(run.status, RunStatus::kFail);
}

// Every gate of every profile must be able to fail: one planted damage for each.
TEST(Gates, EachIsFailedBySomeDamage) {
  const SyntheticSuite suite(24, 420, 12);
  const LaneLogits broken = merge(suite, 0.3F, 0.8F);
  LaneLogits worse_text = merge(suite, 1.0F, 1e-3F);
  for (std::int64_t row = 0; row < suite.rows(); ++row) {
    if (const std::int64_t next = suite.layout().next_token(row); next >= 0) {
      suite.at(worse_text, row, next) -= 0.5F;
    }
  }
  for (const std::string_view name : builtin_gate_profiles()) {
    std::map<std::string, bool> failed;
    for (const LaneLogits* subject : {&broken, &std::as_const(worse_text)}) {
      Judged run = prepare(suite, *subject);
      run.inputs.remerge_is_merged = false;
      run.rounding = suite.compare(merge(suite, 1.0F, 1e-3F), fast_options());
      run.tool = run.total;
      run.other = run.total;
      judge_run(run, std::string(name));
      for (const GateSpec& gate : load_gate_profile(std::string(name)).gates) {
        failed[gate.gate] = failed[gate.gate] || run.verdict(gate.gate).status == GateStatus::kFail;
      }
    }
    for (const auto& [gate, was_failed] : failed) {
      EXPECT_TRUE(was_failed) << name << ": no damage failed " << gate;
    }
  }
}

TEST(Floor, TakesKlAndTheNearTieMargin) {
  const SyntheticSuite suite;
  const Comparison noise = suite.compare(merge(suite, 1.0F, 1e-3F), fast_options());
  const Floor floor = make_floor(noise, "adapter lane, exact against fp16 arithmetic, 24 prompts");
  EXPECT_EQ(floor.kl_mean, find_metric(noise.metrics, "kl")->mean);
  EXPECT_EQ(floor.kl_p99, std::nullopt);
  EXPECT_EQ(floor.prompts, 24);
  EXPECT_EQ(*floor.flip_margin, 2.0 * *find_metric(noise.metrics, "max_abs_centred")->p95);
  const Comparison storm = suite.compare(merge(suite, 1.0F, 5.0F), fast_options());
  EXPECT_EQ(flip_margin(make_floor(storm, "")), kLargestFlipMargin);
  EXPECT_EQ(flip_margin(std::nullopt), kLargestFlipMargin);
}

}  // namespace
}  // namespace mg
