#include "harness/audit/explain.h"

#include <gtest/gtest.h>

#include "tests/audit/synthetic.h"

namespace mg {
namespace {

using test::LowRankCase;
using test::MergeSteps;
using test::Tensor;

Explanation explain(const LowRankCase& c, const Tensor& merged) {
  ThreadPool pool(2);
  const DeltaMaker make = [&](std::optional<DType> cast) { return DeltaRows(c.attached, cast); };
  const DeltaRows delta(c.attached);
  const TargetViews views{c.weight.view(), merged.view(), &delta};
  const TargetMeasure measure = measure_rows(views, 0, delta.rows());
  return find_recipe(views, make, c.a.dtype, measure, pool);
}

struct Healthy {
  const char* name;
  DType base;
  DType adapter;
  DType merged;
  MergeSteps steps;
};

constexpr DType kF16 = DType::kF16;
constexpr DType kBF16 = DType::kBF16;
constexpr DType kF32 = DType::kF32;

const Healthy kHealthy[] = {
    {"one-rounding", kF16, kF32, kF16, {}},
    {"one-rounding", kBF16, kF32, kBF16, {}},
    {"one-rounding", kBF16, kBF16, kF16, {}},
    {"one-rounding", kF16, kF32, kF16, {.accumulate_on_weight = true}},
    {"fp32-then-cast", kF32, kF32, kF16, {}},
    {"fp32-stored", kF16, kF32, kF32, {}},
    {"fp32-stored", kF32, kF32, kF32, {}},
    {"delta-in-base-dtype", kF16, kF32, kF16, {.delta = kF16}},
    {"delta-in-base-dtype", kBF16, kF32, kBF16, {.delta = kBF16}},
    {"adapter-in-base-dtype", kF16, kF32, kF16, {.adapter = kF16, .delta = kF16}},
    {"adapter-in-base-dtype",
     kBF16,
     kF32,
     kBF16,
     {.adapter = kBF16, .product = kBF16, .delta = kBF16}},
    {"base-in-merged-dtype", kF32, kF32, kF16, {.load = kF16}},
    {"delta-in-merged-dtype", kF32, kF32, kF16, {.load = kF16, .delta = kF16}},
    {"adapter-in-merged-dtype",
     kF32,
     kF32,
     kBF16,
     {.load = kBF16, .adapter = kBF16, .delta = kBF16}},
    {"merged-in-base-dtype", kF16, kF32, kF32, {.sum = kF16}},
    {"merged-in-base-dtype", kBF16, kF32, kF16, {.sum = kBF16}},
    {"merged-in-base-dtype", kF16, kF32, kBF16, {.sum = kF16}},
    {"merged-in-base-dtype", kF16, kF32, kF32, {.delta = kF16, .sum = kF16}},
    {"bf16-detour", kF16, kF32, kF16, {.load = kBF16, .sum = kBF16}},
    {"bf16-detour", kF16, kF32, kF16, {.load = kBF16, .delta = kBF16, .sum = kBF16}},
    {"bf16-detour",
     kF32,
     kF32,
     kF16,
     {.load = kBF16, .adapter = kBF16, .delta = kBF16, .sum = kBF16}},
    {"delta-in-bf16", kF16, kF32, kF16, {.delta = kBF16}},
    {"adapter-in-bf16", kF16, kF32, kF16, {.adapter = kBF16}},
};

TEST(FindRecipe, NamesTheRecipeAndLeavesNothingUnexplained) {
  for (const double ratio : {0.2, 0.002}) {
    for (const Healthy& healthy : kHealthy) {
      LowRankCase c;
      c.fill({.rows = 96, .base = healthy.base, .adapter = healthy.adapter, .delta_ratio = ratio});
      const Explanation found = explain(c, c.merge(healthy.merged, healthy.steps));
      EXPECT_TRUE(found.fit.explains()) << healthy.name << " at " << ratio;
      EXPECT_EQ(found.recipe.name, healthy.name) << "at " << ratio;
    }
  }
}

TEST(FindRecipe, DoraInFullPrecision) {
  for (const DType base : {kF16, kBF16}) {
    LowRankCase c;
    c.fill({.base = base, .dora = true});
    const Explanation found = explain(c, c.merge(base));
    EXPECT_TRUE(found.fit.explains());
    EXPECT_EQ(found.recipe.name, "one-rounding");
  }
}

TEST(FindRecipe, BrokenElementsAreExceptionsOfTheRecipeThatFitsTheRest) {
  LowRankCase c;
  c.fill({});
  Tensor merged = c.merge(kF16, {.delta = kF16});
  for (const std::int64_t i : {17, 18, 4000}) {
    merged.nudge(i, 2);
  }
  const Explanation found = explain(c, merged);
  EXPECT_EQ(found.recipe.name, "delta-in-base-dtype");
  EXPECT_EQ(found.fit.unexplained, 3);
  ASSERT_EQ(found.fit.samples.size(), 3U);
  EXPECT_EQ(found.fit.samples[0].index, 17);
  EXPECT_EQ(found.fit.samples[2].index, 4000);
}

TEST(FindRecipe, NothingExplainsAnotherDelta) {
  LowRankCase c;
  c.fill({});
  LowRankCase other;
  other.fill({.seed = 2});
  other.weight = c.weight;
  other.stored.view = other.weight.view();
  const Explanation found = explain(c, other.merge(kF16));
  EXPECT_GT(found.fit.unexplained_share(), 0.5);
}

TEST(FitRows, BoundsTheScaleUnderTheRecipe) {
  for (const double ratio : {0.2, 0.002}) {
    LowRankCase c;
    c.fill({.delta_ratio = ratio});
    const Tensor merged = c.merge(kF16, {.delta = kF16}, 1.02);
    const DeltaRows delta(c.attached);
    const TargetViews views{c.weight.view(), merged.view(), &delta};
    for (const Recipe& recipe : recipes_for(kF16, kF32, kF16)) {
      if (recipe.name != "delta-in-base-dtype") {
        continue;
      }
      const RecipeFit fit = fit_rows(views, recipe, {.bound_scale = true}, 0, delta.rows());
      EXPECT_GT(fit.unexplained, 0);
      EXPECT_LE(fit.scale_low, 1.02);
      EXPECT_GE(fit.scale_high, 1.02);
      EXPECT_GT(fit.scale_low, 1.01);
      const RecipeFit right = fit_rows(views, recipe, {.scale = 1.02}, 0, delta.rows());
      EXPECT_EQ(right.unexplained, 0);
    }
  }
}

}  // namespace
}  // namespace mg
