#include "harness/model/names.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "harness/model/quantised_names.h"

namespace mg {
namespace {

TEST(NamesTest, EveryGenerationOfAVisionModelMeetsInOneName) {
  for (const std::string name :
       {"model.layers.0.mlp.up_proj.weight", "model.language_model.layers.0.mlp.up_proj.weight",
        "language_model.model.layers.0.mlp.up_proj.weight",
        "model.language_model.model.layers.0.mlp.up_proj.weight",
        "base_model.model.model.language_model.layers.0.mlp.up_proj.weight"}) {
    EXPECT_EQ(canonical_name(name), "model.layers.0.mlp.up_proj.weight") << name;
  }
  EXPECT_EQ(canonical_name("model.visual.blocks.1.attn.qkv.weight"),
            "visual.blocks.1.attn.qkv.weight");
  EXPECT_EQ(canonical_name("language_model.lm_head.weight"), "lm_head.weight");
  EXPECT_EQ(canonical_name("model.vision_tower.x"), "vision_tower.x");
  EXPECT_EQ(canonical_name("model.multi_modal_projector.linear.weight"),
            "multi_modal_projector.linear.weight");
}

TEST(NamesTest, StripsTrainerWrappers) {
  EXPECT_EQ(canonical_name("module.model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(canonical_name("_orig_mod.model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(
      canonical_name(
          "_fsdp_wrapped_module.model.layers.3._checkpoint_wrapped_module.mlp.up_proj.weight"),
      "model.layers.3.mlp.up_proj.weight");
  EXPECT_EQ(canonical_name("module._forward_module.model.norm.weight"), "model.norm.weight");
}

TEST(NamesTest, LeavesTheSameWordsInsideANameAlone) {
  // "module." inside a path is a name like any other (F14).
  EXPECT_EQ(canonical_name("model.module.norm.weight"), "model.module.norm.weight");
  EXPECT_EQ(canonical_name("model.my_orig_mod.weight"), "model.my_orig_mod.weight");
  EXPECT_EQ(canonical_name("model.base_layer_norm.weight"), "model.base_layer_norm.weight");
  EXPECT_EQ(canonical_name("transformer.h.0.attn.c_attn.weight"),
            "transformer.h.0.attn.c_attn.weight");
}

TEST(NamesTest, StripsPeftWrapping) {
  EXPECT_EQ(canonical_name("base_model.model.lm_head.base_layer.weight"), "lm_head.weight");
}

// Names put together from the words that matter: canonical form is reached in one call and never
// grows.
TEST(NamesTest, IsIdempotentAndShortens) {
  const std::vector<std::string> words = {"model",
                                          "base_model",
                                          "module",
                                          "_orig_mod",
                                          "language_model",
                                          "visual",
                                          "vision_tower",
                                          "lm_head",
                                          "layers",
                                          "0",
                                          "base_layer",
                                          "_forward_module",
                                          "weight",
                                          "q_proj",
                                          "_fsdp_wrapped_module",
                                          "multi_modal_projector",
                                          "transformer"};
  std::mt19937 random(20240501);
  for (int trial = 0; trial < 20000; ++trial) {
    std::string name;
    const auto length = 1 + random() % 7;
    for (std::uint32_t i = 0; i < length; ++i) {
      name += (i == 0 ? "" : ".") + words[random() % words.size()];
    }
    const std::string once = canonical_name(name);
    ASSERT_EQ(canonical_name(once), once) << name;
    ASSERT_LE(once.size(), name.size()) << name;
    ASSERT_FALSE(once.empty()) << name;
    // Wrapping a name changes nothing.
    ASSERT_EQ(canonical_name("base_model.model." + name), once) << name;
    ASSERT_EQ(canonical_name("module." + name), once) << name;
    ASSERT_EQ(canonical_name("_orig_mod." + name), once) << name;
  }
}

TEST(QuantisedNamesTest, RecognisesEveryKindOfCompanion) {
  const std::string weight = "model.layers.0.mlp.up_proj.weight";
  for (const std::string suffix : {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map",
                                   ".quant_state.bitsandbytes__nf4"}) {
    ASSERT_TRUE(quantised_name(weight + suffix).has_value()) << suffix;
    EXPECT_EQ(quantised_name(weight + suffix)->weight, weight);
    EXPECT_FALSE(quantised_name(weight + suffix)->codes);
  }
  for (const std::string sibling :
       {"SCB", "weight_format", "qzeros", "scales", "g_idx", "weight_scale", "weight_scale_2",
        "weight_scale_inv", "input_scale", "biases"}) {
    const auto found = quantised_name("model.layers.0.mlp.up_proj." + sibling);
    ASSERT_TRUE(found.has_value()) << sibling;
    EXPECT_EQ(found->weight, weight);
    EXPECT_FALSE(found->codes);
  }
  for (const std::string codes : {"qweight", "weight_packed"}) {
    EXPECT_TRUE(quantised_name("model.layers.0.mlp.up_proj." + codes)->codes);
  }
  EXPECT_EQ(quantised_name("model.layers.0.mlp.experts.gate_up_proj_blocks")->weight,
            "model.layers.0.mlp.experts.gate_up_proj");
  EXPECT_TRUE(quantised_name("model.layers.0.mlp.experts.gate_up_proj_blocks")->codes);
  EXPECT_FALSE(quantised_name("model.layers.0.mlp.experts.gate_up_proj_scales")->codes);
}

TEST(QuantisedNamesTest, LeavesOrdinaryNamesAlone) {
  for (const std::string name :
       {"model.layers.0.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias",
        "lm_head.weight", "model.norm.weight", "weight", "scales"}) {
    EXPECT_FALSE(quantised_name(name).has_value()) << name;
  }
}

}  // namespace
}  // namespace mg
