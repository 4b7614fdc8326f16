#include "reports/html/scale.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "reports/html/tensor_place.h"

namespace mg::html {
namespace {

TEST(Scale, DecadesAreEquallyFarApart) {
  const Scale x = Scale::logarithmic(1e-6, 1.0, 0.0, 600.0);
  EXPECT_DOUBLE_EQ(x.at(1e-6), 0.0);
  EXPECT_NEAR(x.at(1e-4), 200.0, 1e-9);
  EXPECT_DOUBLE_EQ(x.at(1.0), 600.0);
}

TEST(Scale, WhatLiesBeyondTheEndsIsDrawnAtThem) {
  const Scale x = Scale::logarithmic(1e-6, 1.0, 0.0, 600.0);
  EXPECT_DOUBLE_EQ(x.at(0.0), 0.0);
  EXPECT_DOUBLE_EQ(x.at(-5.0), 0.0);
  EXPECT_DOUBLE_EQ(x.at(std::numeric_limits<double>::infinity()), 600.0);
  EXPECT_FALSE(x.contains(2.0));
}

TEST(Scale, TicksAreRoundAndInside) {
  const auto decades = Scale::logarithmic(1e-8, 10.0, 0.0, 1.0).ticks(6);
  ASSERT_GE(decades.size(), 3U);
  EXPECT_LE(decades.size(), 6U);
  EXPECT_EQ(decades.front().label, "1e-8");
  const auto linear = Scale::linear(-0.3, 2.2, 0.0, 1.0).ticks(5);
  ASSERT_EQ(linear.size(), 5U);
  EXPECT_EQ(linear[0].label, "0");
  EXPECT_EQ(linear[4].label, "2");
}

TEST(Scale, RangesHoldEveryValueAndAreNeverEmpty) {
  const std::array values{0.0, 3e-7, 0.02};
  const Range decades = decades_around(values);
  EXPECT_LE(decades.low, 3e-7);
  EXPECT_GE(decades.high, 0.02);
  EXPECT_LT(decades_around({}).low, decades_around({}).high);
  const std::array one{5e-324};
  EXPECT_GT(decades_around(one).low, 0.0);
  const std::array same{1.0, 1.0};
  EXPECT_LT(range_around(same).low, range_around(same).high);
  const std::array counts{0.0, 7.0};
  EXPECT_DOUBLE_EQ(range_around(counts).low, 0.0);
}

TEST(TensorPlace, NamesAreReadAsStackLayerAndModule) {
  const auto place = tensor_place("model.layers.12.self_attn.q_proj.weight");
  ASSERT_TRUE(place);
  EXPECT_EQ(place->stack, "model.layers");
  EXPECT_EQ(place->layer, 12);
  EXPECT_EQ(place->module, "self_attn.q_proj");
  EXPECT_EQ(tensor_place("model.layers.3.mlp.experts.17.up_proj.weight")->module,
            "mlp.experts.*.up_proj");
  EXPECT_EQ(tensor_place("transformer.h.0.attn.c_attn.bias")->module, "attn.c_attn.bias");
  EXPECT_FALSE(tensor_place("model.embed_tokens.weight"));
  EXPECT_FALSE(tensor_place(""));
  EXPECT_EQ(tensor_place("layers.7")->module, "");
  EXPECT_FALSE(tensor_place("a.123456.weight"));
}

}  // namespace
}  // namespace mg::html
