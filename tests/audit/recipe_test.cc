#include "harness/audit/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/core/half.h"

namespace mg {
namespace {

std::vector<std::string> names(DType base, DType adapter, DType merged) {
  std::vector<std::string> result;
  for (const Recipe& recipe : recipes_for(base, adapter, merged)) {
    if (result.empty() || result.back() != recipe.name) {
      result.push_back(recipe.name);
    }
  }
  return result;
}

TEST(RecipesFor, StartsWithOneRoundingUnderTheNameThatFitsTheDtypes) {
  EXPECT_EQ(names(DType::kF16, DType::kF32, DType::kF16).front(), "one-rounding");
  EXPECT_EQ(names(DType::kBF16, DType::kF32, DType::kF16).front(), "one-rounding");
  EXPECT_EQ(names(DType::kF32, DType::kF32, DType::kF16).front(), "fp32-then-cast");
  EXPECT_EQ(names(DType::kBF16, DType::kF32, DType::kF32).front(), "fp32-stored");
}

TEST(RecipesFor, ListsEachArithmeticOnce) {
  EXPECT_THAT(names(DType::kBF16, DType::kBF16, DType::kBF16),
              testing::ElementsAre("one-rounding", "delta-in-base-dtype", "adapter-in-base-dtype",
                                   "fp16-detour", "delta-in-fp16", "adapter-in-fp16"));
  EXPECT_THAT(
      names(DType::kF32, DType::kF32, DType::kF32),
      testing::ElementsAre("fp32-stored", "bf16-detour", "fp16-detour", "delta-in-bf16",
                           "delta-in-fp16", "adapter-in-bf16", "adapter-in-fp16", "base-in-bf16"));
}

RecipeKind kind(DType base, DType merged, const std::string& name) {
  for (const Recipe& recipe : recipes_for(base, DType::kF32, merged)) {
    if (recipe.name == name) {
      return recipe.kind;
    }
  }
  ADD_FAILURE() << "no recipe " << name;
  return RecipeKind::kPlain;
}

TEST(RecipesFor, CallsADetourWhatIsCoarserThanBothEnds) {
  EXPECT_EQ(kind(DType::kF16, DType::kF16, "delta-in-base-dtype"), RecipeKind::kPlain);
  EXPECT_EQ(kind(DType::kF16, DType::kF16, "bf16-detour"), RecipeKind::kDetour);
  EXPECT_EQ(kind(DType::kF32, DType::kF16, "bf16-detour"), RecipeKind::kDetour);
  EXPECT_EQ(kind(DType::kF16, DType::kF16, "delta-in-bf16"), RecipeKind::kDeltaDetour);
  // What a BF16 base loses in BF16 is what every BF16 merge loses.
  EXPECT_EQ(kind(DType::kBF16, DType::kF16, "merged-in-base-dtype"), RecipeKind::kCast);
  EXPECT_EQ(kind(DType::kF16, DType::kBF16, "merged-in-base-dtype"), RecipeKind::kCast);
}

TEST(Preimage, OfOneValueIsItsRoundingCellWithTiesGoingToEven) {
  const double value = half_to_float(0x3C01);  // odd: 1 + 2^-10
  const Range odd = preimage({.low = value, .high = value}, DType::kF16);
  EXPECT_EQ(odd.low, 1.0 + 0x1p-11);
  EXPECT_EQ(odd.high, 1.0 + 0x3p-11);
  EXPECT_TRUE(odd.low_open);
  EXPECT_TRUE(odd.high_open);
  const Range even = preimage({.low = 1.0, .high = 1.0}, DType::kF16);
  EXPECT_EQ(even.low, 1.0 - 0x1p-12);  // the spacing below 1 is half of that above
  EXPECT_EQ(even.high, 1.0 + 0x1p-11);
  EXPECT_FALSE(even.low_open);
  EXPECT_FALSE(even.high_open);
}

TEST(Preimage, IsEmptyBetweenTwoValuesOfTheGrid) {
  EXPECT_TRUE(preimage({.low = 1.0001, .high = 1.0002}, DType::kBF16).empty());
  EXPECT_TRUE(preimage({.low = 1.0, .high = 1.003, .low_open = true}, DType::kBF16).empty());
}

TEST(Preimage, HoldsExactlyWhatRoundsInto) {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal;
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const GridFormat format = grid_format(dtype);
    for (int i = 0; i < 20000; ++i) {
      const double low = normal(random) * std::exp2(static_cast<int>(random() % 30U) - 20);
      const Range range{.low = low, .high = low + std::fabs(low) * 0.01};
      const Range wide = preimage(range, dtype);
      const double probe = range.low + (normal(random) + 0.5) * (range.high - range.low);
      const double rounded = round_to_grid(probe, format);
      const bool inside = range.low <= rounded && rounded <= range.high;
      const bool claimed = !wide.empty() && wide.low <= probe && probe <= wide.high;
      ASSERT_EQ(inside, claimed) << probe << " in [" << range.low << ", " << range.high << "]";
    }
  }
}

// For random elements: the recipe's own result allows the delta it was made from, and a neighbour
// two steps away does not allow it (one step may, where the exact value lies within the FP32 error
// of a tie).
TEST(ElementArithmetic, AllowsItsOwnResultAndNotItsNeighbours) {
  std::mt19937_64 random(6);
  std::normal_distribution<double> normal;
  for (const DType base : {DType::kF16, DType::kBF16, DType::kF32}) {
    for (const DType merged : {DType::kF16, DType::kBF16}) {
      for (const Recipe& recipe : recipes_for(base, DType::kF32, merged)) {
        const ElementArithmetic arithmetic(recipe, base, merged, 8, 2.0);
        for (int i = 0; i < 500; ++i) {
          const double w = round_to(base, 0.05 * normal(random));
          const double d = 0.005 * normal(random);
          const double m = arithmetic.expected(w, d);
          const Range range = arithmetic.allowed_delta(w, m, 2.0 * std::fabs(d));
          ASSERT_FALSE(range.empty()) << recipe.name;
          ASSERT_LE(range.low, d) << recipe.name;
          ASSERT_GE(range.high, d) << recipe.name;
          if (std::fabs(m) < 0.2 * std::fabs(w)) {
            continue;  // W and D cancel: steps of the result are finer than the errors of D
          }
          const GridFormat grid = grid_format(merged);
          const double other = next_on_grid(next_on_grid(m, grid, true), grid, true);
          const Range none = arithmetic.allowed_delta(w, other, 2.0 * std::fabs(d));
          ASSERT_TRUE(none.empty() || none.low > d) << recipe.name << " " << w << " " << d;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mg
