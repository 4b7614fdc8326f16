// Right merges of every adapter variant by every recipe: nothing above a note, every tensor judged.
// Detours through a coarser dtype are no part of this: they pass too, but with a warning (F64;
// defects_test.cc).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "tests/audit/remerge.h"
#include "tests/audit/world.h"

namespace mg {
namespace {

using test::MergeSteps;
using test::Remerge;
using test::Tensor;

/// A golden and what is made of it before it is merged, and of the merge afterwards.
struct Variant {
  const char* name;
  const char* golden;
  std::function<void(Remerge&)> before = [](Remerge&) {};
  std::function<void(Remerge&)> after = [](Remerge&) {};
};

void rename_generation(Remerge& r) {
  test::Tensors renamed;
  for (auto& [name, tensor] : r.merged) {
    std::string newer = name;
    if (name.starts_with("model.")) {
      newer = "model.language_model." + name.substr(6);
    } else if (name.starts_with("visual.")) {
      newer = "model." + name;
    }
    renamed[newer] = tensor;
  }
  r.merged = std::move(renamed);
}

void copy_head(Remerge& r) {
  r.merged["lm_head.weight"] = r.merged.at("model.embed_tokens.weight");
}

const std::vector<Variant>& variants() {
  static const std::vector<Variant> list = {
      {"plain", "qwen2"},
      {"tied", "llama-tied"},
      {"tied_with_a_stored_head", "llama-tied", [](Remerge&) {}, copy_head},
      {"rslora", "qwen3", [](Remerge& r) { r.adapter_config["use_rslora"] = true; }},
      {"alpha_no_power_of_two", "qwen3", [](Remerge& r) { r.adapter_config["lora_alpha"] = 11; }},
      {"rank_and_alpha_patterns", "qwen2-patterns"},
      {"dora", "qwen2-dora"},
      {"conv1d", "gpt2-conv1d"},
      {"embedding_and_head", "llama-embed-lora"},
      {"packed", "phi3-packed"},
      {"moe_attention", "qwen3-moe"},
      {"moe_experts", "qwen3-moe", [](Remerge& r) { r.add_expert_pairs(2); }},
      {"modules_to_save", "qwen2-modules-to-save"},
      {"lora_bias", "qwen2", [](Remerge& r) { r.add_lora_bias(); }},
      {"vision_language", "qwen2-vl"},
      {"renamed_generation", "qwen2-vl", [](Remerge&) {}, rename_generation},
      {"norms_plus_one", "gemma3"},
  };
  return list;
}

/// A recipe by what it stores a base of some dtype as.
struct HealthyRecipe {
  const char* name;
  std::optional<DType> base = std::nullopt;    // the golden's own where not set
  std::optional<DType> merged = std::nullopt;  // the base's where not set
  // Roundings to the base's dtype.
  bool delta = false;
  bool adapter = false;
  bool sum = false;
  test::Order order = test::Order::kAscending;
};

constexpr HealthyRecipe kRecipes[] = {
    {.name = "one_rounding"},
    {.name = "one_rounding_fma", .order = test::Order::kFma},
    {.name = "one_rounding_pairwise", .order = test::Order::kPairwise},
    {.name = "safe_merge", .delta = true},
    {.name = "adapter_in_16_bits", .delta = true, .adapter = true},
    {.name = "bf16_base_and_store", .base = DType::kBF16},
    {.name = "bf16_safe_merge", .base = DType::kBF16, .delta = true},
    {.name = "f16_base_and_store", .base = DType::kF16},
    {.name = "fp32_base_stored_as_f16", .base = DType::kF32, .merged = DType::kF16},
    {.name = "fp32_base_stored_as_bf16", .base = DType::kF32, .merged = DType::kBF16},
    {.name = "fp32_base_and_store", .base = DType::kF32},
    {.name = "stored_as_fp32", .merged = DType::kF32},
    {.name = "bf16_base_stored_as_f16", .base = DType::kBF16, .merged = DType::kF16},
    {.name = "bf16_merge_cast_to_f16", .base = DType::kBF16, .merged = DType::kF16, .sum = true},
};

class HealthyMerges : public testing::TestWithParam<Variant> {};

void expect_healthy(const AuditOutcome& outcome, bool small) {
  for (const Finding& finding : outcome.findings) {
    // What BF16 does to a small delta is a warning in its own right (F30), however right the merge.
    const bool absorbed = small && finding.rule == "audit.absorbed";
    EXPECT_TRUE(finding.severity == Severity::kNote || absorbed) << test::describe(outcome);
  }
  EXPECT_EQ(test::exit_code_of(outcome), 0) << test::describe(outcome);
  EXPECT_EQ(outcome.result.summary.not_checked, 0);
  EXPECT_GT(outcome.result.summary.target, 0);
  for (const TensorAudit& tensor : outcome.result.tensors) {
    EXPECT_EQ(tensor.verdict, GateStatus::kPass) << tensor.name << ": " << tensor.note;
  }
}

void expect_healthy(const Variant& variant, const HealthyRecipe& recipe, double size) {
  SCOPED_TRACE(fmt::format("{}, delta x {}", recipe.name, size));
  Remerge r(variant.golden);
  variant.before(r);
  if (recipe.base) {
    r.store_base_as(*recipe.base);
  }
  if (size != 1.0) {
    r.scale_delta(size);
  }
  const DType own = r.base_dtype();
  const auto rounding = [own](bool wanted) -> std::optional<DType> {
    return wanted ? std::optional<DType>(own) : std::nullopt;
  };
  MergeSteps steps;
  steps.delta = rounding(recipe.delta);
  steps.adapter = rounding(recipe.adapter);
  steps.update = rounding(recipe.adapter);  // PEFT's DoRA in 16 bits; nothing to others
  steps.sum = rounding(recipe.sum);
  steps.order = recipe.order;
  r.merge(recipe.merged.value_or(own), steps);
  variant.after(r);
  expect_healthy(r.audit(), size != 1.0);
}

constexpr double kSmall = 0.02;

TEST_P(HealthyMerges, RaiseNothingAboveANoteByAnyRecipe) {
  // Every other one with a small delta; which ones differs from variant to variant.
  std::size_t i = std::string(GetParam().name).size();
  for (const HealthyRecipe& recipe : kRecipes) {
    expect_healthy(GetParam(), recipe, i++ % 2 == 0 ? 1.0 : kSmall);
  }
}

INSTANTIATE_TEST_SUITE_P(All, HealthyMerges, testing::ValuesIn(variants()),
                         [](const auto& entry) { return std::string(entry.param.name); });

TEST(HealthyMerges, AreAtLeastFifty) {
  EXPECT_GE(variants().size() * std::size(kRecipes), 50U);
}

// PEFT's ensure_weight_tying saves the shared pair for either side: W + D is what both ask for.
TEST(HealthyMerges, OfATableWhosePairIsTheHeadsToo) {
  test::World w({.tied = true});
  std::mt19937_64 random(6);
  test::Pair pair;
  pair.a = Tensor::normal(DType::kF32, {8, 128}, 0.05, random);
  pair.b = Tensor::normal(DType::kF32, {64, 8}, 0.05, random);
  pair.scale = 2.0;
  pair.transposed = true;
  const auto turned = [](const Tensor& x) {
    Tensor y(x.dtype, {x.shape[1], x.shape[0]});
    for (std::int64_t i = 0; i < x.size(); ++i) {
      y.set(i % x.shape[1] * x.shape[0] + i / x.shape[1], x.get(i));
    }
    return y;
  };
  const std::string model = "base_model.model.";
  w.adapter[model + "model.embed_tokens.lora_embedding_A"] = pair.a;
  w.adapter[model + "model.embed_tokens.lora_embedding_B"] = pair.b;
  w.adapter[model + "lm_head.lora_A.weight"] = turned(pair.b);
  w.adapter[model + "lm_head.lora_B.weight"] = turned(pair.a);
  w.adapter_config["target_modules"].push_back("embed_tokens");
  w.adapter_config["ensure_weight_tying"] = true;
  Tensor& table = w.merged["model.embed_tokens.weight"];
  table = test::merge_pair(w.base.at("model.embed_tokens.weight"), pair, DType::kF16);
  expect_healthy(w.audit(), false);
  w.adapter[model + "lm_head.lora_A.weight"].nudge(3, 1);
  EXPECT_EQ(test::exit_code_of(w.audit()), 1) << "a head with a pair of its own";
}

// The tests' own arithmetic against PEFT's merges of the goldens: what the other cases rest on.
TEST(Remerge, GivesPeftsBytesUpToSummationOrder) {
  for (const Variant& variant : variants()) {
    Remerge r(variant.golden);
    const test::Tensors peft = r.merged;
    r.merge(r.base_dtype());
    ASSERT_EQ(r.merged.size(), peft.size()) << variant.golden;
    std::int64_t differing = 0;
    std::int64_t elements = 0;
    for (const auto& [name, tensor] : peft) {
      // PEFT rounds an embedding's delta first.
      if (name == "model.embed_tokens.weight" &&
          variant.name == std::string("embedding_and_head")) {
        continue;
      }
      ASSERT_EQ(tensor.shape, r.merged.at(name).shape) << name;
      for (std::int64_t i = 0; i < tensor.size(); ++i) {
        differing += tensor.get(i) == r.merged.at(name).get(i) ? 0 : 1;
      }
      elements += tensor.size();
    }
    EXPECT_LE(differing, elements / 2000) << variant.golden;
  }
}

}  // namespace
}  // namespace mg
