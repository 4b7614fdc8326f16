// Every golden case: the merge PEFT made passes, with the recipe tests/golden/README.md states.
#include <gtest/gtest.h>

#include <filesystem>

#include "harness/audit/audit.h"
#include "kernels/core/error.h"
#include "tests/audit/world.h"

namespace mg {
namespace {

struct Golden {
  const char* name;
  int targets;
  int replaced;
};

constexpr Golden kCases[] = {{"gemma2", 21, 0},
                             {"gemma3", 21, 0},
                             {"gpt2-conv1d", 12, 0},
                             {"llama-embed-lora", 23, 0},
                             {"llama-tied", 21, 0},
                             {"llama3-rope", 6, 0},
                             {"mistral-sliding", 21, 0},
                             {"phi3-packed", 12, 0},
                             {"qwen2", 21, 0},
                             {"qwen2-dora", 21, 0},
                             {"qwen2-modules-to-save", 9, 2},
                             {"qwen2-patterns", 21, 0},
                             {"qwen2-vl", 29, 0},
                             {"qwen3", 21, 0},
                             {"qwen3-moe", 12, 0}};

AuditOutcome audit_golden(const std::string& name, int threads = 2) {
  const std::filesystem::path folder = std::filesystem::path(MG_TEST_DATA) / "golden" / name;
  const Checkpoint base = Checkpoint::open(folder / "base");
  const Adapter adapter = Adapter::open(folder / "adapter");
  const Checkpoint merged = Checkpoint::open(folder / "merged");
  const AttachedAdapter attached = attach(adapter, base);
  ThreadPool pool(threads);
  return run_audit(base, adapter, attached, merged, pool);
}

class GoldenAudit : public testing::TestWithParam<Golden> {};

TEST_P(GoldenAudit, PassesWithTheRecipeItsReadmeStates) {
  const Golden& golden = GetParam();
  const AuditOutcome outcome = audit_golden(golden.name);
  EXPECT_EQ(test::exit_code_of(outcome), 0) << test::describe(outcome);
  EXPECT_EQ(outcome.result.recipe.name, "one-rounding");
  EXPECT_EQ(outcome.result.summary.target, golden.targets);
  EXPECT_EQ(outcome.result.summary.replaced, golden.replaced);
  EXPECT_EQ(outcome.result.summary.not_checked, 0);
  EXPECT_EQ(outcome.result.summary.missing + outcome.result.summary.extra, 0);
  std::int64_t differing = 0;
  for (const TensorAudit& tensor : outcome.result.tensors) {
    EXPECT_EQ(tensor.verdict, GateStatus::kPass) << tensor.name;
    const bool embedding = tensor.recipe == "delta-in-base-dtype";
    differing += embedding ? 0 : tensor.differing;
  }
  EXPECT_LE(differing, 33);  // FP32 summation order; gpt2-conv1d has the most
  if (std::string(golden.name) == "llama-embed-lora") {
    ASSERT_EQ(outcome.result.recipe.exceptions.size(), 1U);
    EXPECT_EQ(outcome.result.recipe.exceptions[0].tensor, "model.embed_tokens.weight");
    EXPECT_EQ(outcome.result.recipe.exceptions[0].name, "delta-in-base-dtype");
  } else {
    EXPECT_EQ(outcome.result.recipe.share, 1.0);
    EXPECT_TRUE(outcome.result.recipe.exceptions.empty());
  }
  for (const Finding& finding : outcome.findings) {
    EXPECT_EQ(finding.severity, Severity::kNote) << test::describe(outcome);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenAudit, testing::ValuesIn(kCases), [](const auto& entry) {
  std::string name = entry.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(GoldenAuditQuantised, IsRefusedWhereItWasNotOpenedDecoded) {
  for (const char* name : {"qwen2-nf4", "qwen2-fp4", "qwen2-int8"}) {
    try {
      audit_golden(name);
      ADD_FAILURE() << name << " was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.parts().code, "audit.quantised");
      EXPECT_EQ(error.parts().what, "the base is quantised in a form that cannot be read yet");
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
    }
  }
}

TEST(GoldenAuditThreads, DoNotChangeABit) {
  const AuditOutcome one = audit_golden("qwen2", 1);
  for (const int threads : {2, 5}) {
    const AuditOutcome many = audit_golden("qwen2", threads);
    ASSERT_EQ(one.result.tensors.size(), many.result.tensors.size());
    for (std::size_t i = 0; i < one.result.tensors.size(); ++i) {
      const TensorAudit& x = one.result.tensors[i];
      const TensorAudit& y = many.result.tensors[i];
      EXPECT_EQ(x.c, y.c);
      EXPECT_EQ(x.rho, y.rho);
      EXPECT_EQ(x.c_remerge, y.c_remerge);
      EXPECT_EQ(x.rho_remerge, y.rho_remerge);
      EXPECT_EQ(x.scale_low, y.scale_low);
      EXPECT_EQ(x.scale_high, y.scale_high);
      EXPECT_EQ(x.differing, y.differing);
      EXPECT_EQ(x.ulp_histogram, y.ulp_histogram);
    }
  }
}

TEST(DemoAudit, Passes) {
  const std::filesystem::path folder = std::filesystem::path(MG_TEST_DATA) / "demo";
  const Checkpoint base = Checkpoint::open(folder / "base");
  const Adapter adapter = Adapter::open(folder / "adapter");
  const Checkpoint merged = Checkpoint::open(folder / "merged");
  const AttachedAdapter attached = attach(adapter, base);
  ThreadPool pool(2);
  const AuditOutcome outcome = run_audit(base, adapter, attached, merged, pool);
  EXPECT_EQ(test::exit_code_of(outcome), 0) << test::describe(outcome);
  EXPECT_EQ(outcome.result.recipe.share, 1.0);
}

}  // namespace
}  // namespace mg
