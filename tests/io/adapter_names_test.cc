#include "harness/io/adapter_names.h"

#include <gtest/gtest.h>

#include <string>

namespace mg {
namespace {

struct Case {
  const char* name;
  AdapterPart part;
  const char* module;
  const char* adapter_name = "";
  int nesting = 0;
  bool embedding = false;
};

TEST(AdapterNames, EveryFormThatPeftWrites) {
  using P = AdapterPart;
  const Case cases[] = {
      {"x.lora_A.weight", P::kA, "x"},
      {"x.lora_A.default.weight", P::kA, "x", "default"},
      {"a.b.lora_B.my-adapter.weight", P::kB, "a.b", "my-adapter"},
      {"x.lora_B.bias", P::kBias, "x"},
      {"x.lora_B.default.bias", P::kBias, "x", "default"},
      {"x.lora_embedding_A", P::kA, "x", "", 0, true},
      {"x.lora_embedding_B.default", P::kB, "x", "default", 0, true},
      {"x.lora_magnitude_vector", P::kMagnitude, "x"},
      {"x.lora_magnitude_vector.weight", P::kMagnitude, "x"},
      {"x.lora_magnitude_vector.default", P::kMagnitude, "x", "default"},
      {"x.lora_magnitude_vector.default.weight", P::kMagnitude, "x", "default"},
      {"m.experts.base_layer.lora_A.weight", P::kA, "m.experts", "", 1},
      {"m.experts.base_layer.base_layer.lora_B.weight", P::kB, "m.experts", "", 2},
      {"lm_head.weight", P::kReplacement, "lm_head.weight"},
      {"x.bias", P::kReplacement, "x.bias"},
      {"lm_head.modules_to_save.weight", P::kReplacement, "lm_head.weight"},
      {"lm_head.modules_to_save.default.weight", P::kReplacement, "lm_head.weight", "default"},
      {"mlp.modules_to_save.default.up_proj.weight", P::kReplacement, "mlp.up_proj.weight",
       "default"},
      {"mlp.modules_to_save.up_proj.weight", P::kReplacement, "mlp.up_proj.weight"},
      {"lm_head.original_module.weight", P::kOriginal, "lm_head.weight"},
      {"embed.base_layer.weight", P::kWrapped, "embed.weight", "", 1},
      {"q.base_layer.bias", P::kWrapped, "q.bias", "", 1},
      {"embed.token_adapter.base_layer.weight", P::kWrapped, "embed.weight", "", 1},
      {"embed.token_adapter.trainable_tokens_delta", P::kTokenRows, "embed"},
      {"embed.token_adapter.trainable_tokens_delta.default", P::kTokenRows, "embed", "default"},
  };
  for (const Case& expected : cases) {
    SCOPED_TRACE(expected.name);
    const AdapterName read = read_adapter_name(std::string("base_model.model.") + expected.name);
    EXPECT_EQ(read.part, expected.part);
    EXPECT_EQ(read.module, expected.module);
    EXPECT_EQ(read.adapter_name, expected.adapter_name);
    EXPECT_EQ(read.nesting, expected.nesting);
    EXPECT_EQ(read.embedding, expected.embedding);
  }
}

TEST(AdapterNames, AModuleMayBeCalledAsAMarkerIs) {
  // The last marker counts: the one before belongs to the model.
  EXPECT_EQ(read_adapter_name("base_model.model.x.modules_to_save.lora_B.weight").part,
            AdapterPart::kB);
}

TEST(AdapterNames, WhatPeftWouldNotLoadIsUnrecognised) {
  for (const char* name : {
           "", "base_model.model.", "base_model.model.weight",
           "model.layers.0.q_proj.lora_A.weight",                     // no prefix: PEFT ignores it
           "base_model.model.base_model.model.q_proj.lora_A.weight",  // wrapped twice
           "module.base_model.model.q_proj.lora_A.weight",            // DDP
           "base_model.model.lora_A.weight", "base_model.model.x.lora_A",
           "base_model.model.x.lora_A.default.other", "base_model.model.x.lora_A.a.b.weight",
           "base_model.model.x.lora_embedding_A.default.weight",
           "base_model.model.x.lora_E",             // AdaLoRA
           "base_model.model.x.lora_diag.default",  // KaSA
           "base_model.model.x.hada_w1_a",
           "lora_unet_down.lora_down.weight",  // kohya
       }) {
    EXPECT_EQ(read_adapter_name(name).part, AdapterPart::kUnrecognised) << name;
  }
}

}  // namespace
}  // namespace mg
