#include "harness/model/attach.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/model/delta.h"
#include "kernels/core/convert.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const fs::path kFolders = MG_TEST_DATA;

struct Counts {
  std::string folder;
  std::size_t modules;       // pairs that PEFT's get_peft_model made for this adapter
  std::size_t replacements;  // tensors of modules_to_save and base copies
};

class GoldenAdapter : public testing::TestWithParam<Counts> {};

TEST_P(GoldenAdapter, ReachesExactlyWhatPeftTouched) {
  const fs::path folder = kFolders / GetParam().folder;
  const Checkpoint base = Checkpoint::open(folder / "base");
  const Adapter adapter = Adapter::open(folder / "adapter");
  const AttachedAdapter attached = attach(adapter, base);
  EXPECT_THAT(attached.unreached, IsEmpty());
  EXPECT_THAT(attached.problems, IsEmpty());
  EXPECT_THAT(attached.surprises, IsEmpty());
  EXPECT_EQ(attached.deltas.size(), GetParam().modules);
  EXPECT_EQ(attached.replacements.size(), GetParam().replacements);
  std::set<const StoredTensor*> targets;
  for (const AttachedDelta& delta : attached.deltas) {
    EXPECT_TRUE(targets.insert(delta.target).second) << delta.target->name;
    EXPECT_EQ(attached.delta_for(*delta.target), &delta);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenAdapter,
    testing::Values(Counts{"golden/gemma2", 21, 0}, Counts{"golden/gemma3", 21, 0},
                    Counts{"golden/gpt2-conv1d", 12, 0}, Counts{"golden/llama-embed-lora", 23, 2},
                    Counts{"golden/llama-tied", 21, 0}, Counts{"golden/llama3-rope", 6, 0},
                    Counts{"golden/mistral-sliding", 21, 0}, Counts{"golden/phi3-packed", 12, 0},
                    Counts{"golden/qwen2", 21, 0}, Counts{"golden/qwen2-dora", 21, 0},
                    Counts{"golden/qwen2-fp4", 21, 0}, Counts{"golden/qwen2-int8", 21, 0},
                    Counts{"golden/qwen2-modules-to-save", 9, 2}, Counts{"golden/qwen2-nf4", 21, 0},
                    Counts{"golden/qwen2-patterns", 21, 0}, Counts{"golden/qwen2-vl", 29, 0},
                    Counts{"golden/qwen3", 21, 0}, Counts{"golden/qwen3-moe", 12, 0},
                    Counts{"demo", 42, 0}),
    [](const auto& case_info) {
      std::string name = case_info.param.folder;
      std::replace_if(
          name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
      return name;
    });

TEST(AttachTest, TheSmolLmAdapterNames210Modules) {
  // Its base is 269 MB and not in the tree; the adapter alone says which modules PEFT wrapped.
  EXPECT_EQ(Adapter::open(kFolders / "smollm2" / "adapter").modules().size(), 210U);
}

TEST(AttachTest, QuantisedTargetsCarryTheirDecodedShape) {
  const Checkpoint base = Checkpoint::open(kFolders / "golden" / "qwen2-nf4" / "base");
  const Adapter adapter = Adapter::open(kFolders / "golden" / "qwen2-nf4" / "adapter");
  const AttachedAdapter attached = attach(adapter, base);
  for (const AttachedDelta& delta : attached.deltas) {
    EXPECT_TRUE(delta.quantised);
    EXPECT_EQ(delta.shape, (Shape{delta.module->b.dim(0), delta.module->a.dim(1)}));
    EXPECT_NE(delta.shape, delta.target->view.shape);
  }
}

TEST(AttachTest, Conv1DIsTransposedThroughoutEvenWhereSquare) {
  const Checkpoint base = Checkpoint::open(kFolders / "golden" / "gpt2-conv1d" / "base");
  const Adapter adapter = Adapter::open(kFolders / "golden" / "gpt2-conv1d" / "adapter");
  std::size_t square = 0;
  const AttachedAdapter attached = attach(adapter, base);
  for (const AttachedDelta& delta : attached.deltas) {
    EXPECT_TRUE(delta.transposed) << delta.target->name;
    square += delta.shape[0] == delta.shape[1] ? 1U : 0U;
  }
  EXPECT_EQ(square, 3U);  // attn.c_proj of each layer
}

// PEFT 0.21.2 on fused experts; the base stores them one by one.
TEST(AttachTest, ExpertPairsGiveThePeftDelta) {
  const Checkpoint base = Checkpoint::open(kFolders / "golden" / "qwen3-moe" / "base");
  const fs::path folder = kFolders / "model" / "peft" / "experts";
  const Adapter adapter = Adapter::open(folder);
  const AttachedAdapter attached = attach(adapter, base);
  EXPECT_THAT(attached.problems, IsEmpty());
  EXPECT_THAT(attached.unreached, IsEmpty());
  EXPECT_THAT(attached.surprises, IsEmpty());
  // Of each of 3 layers: q_proj, the router, and gate, up, down of 6 experts.
  EXPECT_EQ(attached.deltas.size(), 3U * (1 + 1 + 18));
  const SafetensorsFile expected = SafetensorsFile::open(folder / "delta.safetensors");
  std::size_t compared = 0;
  for (const SafetensorsRecord& record : expected.header().records) {
    const StoredTensor* stored = base.find(record.name);
    ASSERT_NE(stored, nullptr);
    const AttachedDelta* delta = attached.delta_for(*stored);
    ASSERT_NE(delta, nullptr) << record.name;
    const DeltaRows rows(*delta);
    ASSERT_EQ(rows.rows(), stored->view.dim(0));
    ASSERT_EQ(rows.cols(), stored->view.dim(1));
    std::vector<double> ours(static_cast<std::size_t>(stored->view.elements()));
    rows.compute(0, rows.rows(), ours.data());
    std::vector<double> theirs(ours.size());
    std::vector<double> weight(ours.size());
    const TensorView view = expected.view(record);
    widen_to_double(view.dtype, view.data, view.elements(), theirs.data());
    widen_to_double(stored->view.dtype, stored->view.data, view.elements(), weight.data());
    std::vector<double> terms(ours.size());
    rows.product_magnitude(0, rows.rows(), terms.data());
    double largest = 0.0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
      // The recorded delta is (W + D rounded to FP32) - W rounded to FP32: half an ulp of each.  D
      // itself was an FP32 product of rank 2 and a scaling: four roundings of at most half an ulp
      // of s * sum |b||a|.
      const double tolerance =
          0x1p-24 * (std::fabs(weight[i] + theirs[i]) + std::fabs(theirs[i]) + 4.0 * terms[i]);
      EXPECT_TRUE(std::fabs(ours[i] - theirs[i]) <= tolerance) << record.name << " " << i;
      largest = std::max(largest, std::fabs(theirs[i]));
    }
    EXPECT_GT(largest, 0.01);
    ++compared;
  }
  EXPECT_EQ(compared, 7U);
}

// A model of an architecture that the table does not know, in names and shapes chosen by the test.
class Scratch : public testing::Test {
 protected:
  Checkpoint base(const ScratchTensors& tensors, const json& config = {{"model_type", "someone"}}) {
    return Checkpoint::open(folder_.write_model("base", config, tensors));
  }
  Adapter adapter(json config, const ScratchTensors& parts) {
    json full = {{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}, {"target_modules", ".*"}};
    full.update(config);
    ScratchTensors tensors;
    for (const auto& [name, tensor] : parts) {
      tensors["base_model.model." + name] = tensor;
    }
    return Adapter::open(folder_.write_adapter("adapter", full, tensors));
  }
  ScratchFolder folder_;
};

TEST_F(Scratch, AnUnknownArchitectureAttachesByNames) {
  const Checkpoint checkpoint = base({{"model.blocks.0.up.weight", {.shape = {6, 4}}}});
  const Adapter low_rank =
      adapter(json::object(), {{"model.blocks.0.up.lora_A.weight", {.shape = {2, 4}}},
                               {"model.blocks.0.up.lora_B.weight", {.shape = {6, 2}}}});
  const AttachedAdapter attached = attach(low_rank, checkpoint);
  ASSERT_EQ(attached.deltas.size(), 1U);
  EXPECT_FALSE(attached.deltas[0].transposed);
  EXPECT_EQ(attached.deltas[0].target->name, "model.blocks.0.up.weight");
}

TEST_F(Scratch, TheOtherWeightsTellHowASquareOneLies) {
  const ScratchTensors weights = {{"a.wide.weight", {.shape = {4, 6}}},
                                  {"a.square.weight", {.shape = {4, 4}}}};
  const ScratchTensors parts = {{"a.wide.lora_A.weight", {.shape = {2, 4}}},
                                {"a.wide.lora_B.weight", {.shape = {6, 2}}},
                                {"a.square.lora_A.weight", {.shape = {2, 4}}},
                                {"a.square.lora_B.weight", {.shape = {4, 2}}}};
  const Checkpoint checkpoint = base(weights);
  for (const bool flag : {false, true}) {
    const Adapter low_rank = adapter({{"fan_in_fan_out", flag}}, parts);
    const AttachedAdapter attached = attach(low_rank, checkpoint);
    ASSERT_EQ(attached.deltas.size(), 2U);
    EXPECT_TRUE(attached.deltas[0].transposed && attached.deltas[1].transposed);
    if (flag) {
      EXPECT_THAT(attached.surprises, IsEmpty());
    } else {
      EXPECT_THAT(
          attached.surprises,
          ElementsAre("fan_in_fan_out is false, but 2 adapted weights are stored as [in, out] "
                      "(first: a.square.weight); PEFT corrects the flag when it loads, other "
                      "tools transpose wrongly"));
    }
  }
}

TEST_F(Scratch, AMisfitIsAProblemThatNamesBoth) {
  const Checkpoint checkpoint = base({{"a.up.weight", {.shape = {6, 4}}}});
  const Adapter low_rank = adapter(json::object(), {{"a.up.lora_A.weight", {.shape = {2, 5}}},
                                                    {"a.up.lora_B.weight", {.shape = {6, 2}}}});
  const AttachedAdapter attached = attach(low_rank, checkpoint);
  EXPECT_THAT(attached.deltas, IsEmpty());
  EXPECT_THAT(attached.problems,
              ElementsAre("base_model.model.a.up.lora_A.weight: A [2, 5] and B [6, 2] do not fit "
                          "a.up.weight [6, 4]"));
}

TEST_F(Scratch, WhatTheBaseLacksIsUnreached) {
  const Checkpoint checkpoint = base({{"a.up.weight", {.shape = {6, 4}}}});
  const Adapter low_rank = adapter(json::object(), {{"a.down.lora_A.weight", {.shape = {2, 6}}},
                                                    {"a.down.lora_B.weight", {.shape = {4, 2}}}});
  const AttachedAdapter attached = attach(low_rank, checkpoint);
  EXPECT_THAT(attached.unreached, ElementsAre("base_model.model.a.down.lora_A.weight"));
}

TEST_F(Scratch, ASplitPairOnAPackedBaseIsExplained) {
  const Checkpoint checkpoint = base({{"l.0.qkv_proj.weight", {.shape = {8, 4}}}});
  const Adapter low_rank =
      adapter(json::object(), {{"l.0.k_proj.lora_A.weight", {.shape = {2, 4}}},
                               {"l.0.k_proj.lora_B.weight", {.shape = {2, 2}}}});
  const AttachedAdapter attached = attach(low_rank, checkpoint);
  EXPECT_THAT(attached.unreached, ElementsAre("base_model.model.l.0.k_proj.lora_A.weight"));
  EXPECT_THAT(
      attached.problems,
      ElementsAre("base_model.model.l.0.k_proj.lora_A.weight: the base stores q_proj, k_proj, "
                  "v_proj in one matrix, l.0.qkv_proj: a pair on one part of it is not what PEFT "
                  "trains on this base; the adapter is for a base with split projections"));
}

TEST_F(Scratch, APackedPairOnASplitBaseIsExplained) {
  const Checkpoint checkpoint = base(
      {{"l.0.gate_proj.weight", {.shape = {8, 4}}}, {"l.0.up_proj.weight", {.shape = {8, 4}}}});
  const Adapter low_rank =
      adapter(json::object(), {{"l.0.gate_up_proj.lora_A.weight", {.shape = {2, 4}}},
                               {"l.0.gate_up_proj.lora_B.weight", {.shape = {16, 2}}}});
  EXPECT_THAT(
      attach(low_rank, checkpoint).problems,
      ElementsAre("base_model.model.l.0.gate_up_proj.lora_A.weight: the base stores gate_proj, "
                  "up_proj apart: the adapter is for a base with one matrix; split its B by rows "
                  "and share its A"));
}

TEST_F(Scratch, APairOnATiedHeadBelongsToTheHeadAlone) {
  const Checkpoint checkpoint = base({{"model.embed_tokens.weight", {.shape = {10, 4}}}});
  const Adapter low_rank =
      adapter(json::object(), {{"lm_head.lora_A.weight", {.shape = {2, 4}}},
                               {"lm_head.lora_B.weight", {.shape = {10, 2}}},
                               {"model.embed_tokens.lora_embedding_A", {.shape = {2, 10}}},
                               {"model.embed_tokens.lora_embedding_B", {.shape = {4, 2}}}});
  const AttachedAdapter attached = attach(low_rank, checkpoint);
  ASSERT_EQ(attached.deltas.size(), 2U);
  const AttachedDelta* head = attached.head_delta();
  const AttachedDelta* embedding = attached.delta_for(checkpoint.tensors()[0]);
  ASSERT_TRUE(head != nullptr && embedding != nullptr);
  EXPECT_EQ(head->module->module, "lm_head");
  EXPECT_FALSE(head->transposed);
  EXPECT_EQ(embedding->module->kind, LowRankKind::kEmbedding);
  EXPECT_TRUE(embedding->transposed);
}

TEST_F(Scratch, ALoraBiasNeedsABiasInTheBase) {
  const ScratchTensors parts = {{"a.up.lora_A.weight", {.shape = {2, 4}}},
                                {"a.up.lora_B.weight", {.shape = {6, 2}}},
                                {"a.up.lora_B.bias", {.shape = {6}}}};
  const Adapter low_rank = adapter({{"lora_bias", true}}, parts);
  const Checkpoint without = base({{"a.up.weight", {.shape = {6, 4}}}});
  EXPECT_THAT(
      attach(low_rank, without).problems,
      ElementsAre(
          "base_model.model.a.up.lora_A.weight: lora_bias adds to a.up.bias, which the base "
          "does not have"));
  const Checkpoint with = base({{"a.up.weight", {.shape = {6, 4}}}, {"a.up.bias", {.shape = {6}}}});
  const AttachedAdapter attached = attach(low_rank, with);
  ASSERT_EQ(attached.deltas.size(), 1U);
  EXPECT_EQ(attached.deltas[0].target_bias, with.find("a.up.bias"));
}

TEST_F(Scratch, TrainedTokenRowsMustLieInTheTable) {
  const Checkpoint checkpoint = base({{"model.embed_tokens.weight", {.shape = {10, 4}}},
                                      {"lm_head.weight", {.shape = {10, 4}}},
                                      {"a.up.weight", {.shape = {6, 4}}}});
  const ScratchTensors parts = {
      {"a.up.lora_A.weight", {.shape = {2, 4}}},
      {"a.up.lora_B.weight", {.shape = {6, 2}}},
      {"model.embed_tokens.token_adapter.trainable_tokens_delta", {.shape = {2, 4}}}};
  const AttachedAdapter good =
      attach(adapter({{"target_modules", {"up"}}, {"trainable_token_indices", {3, 9}}}, parts),
             checkpoint);
  EXPECT_THAT(good.problems, IsEmpty());
  EXPECT_EQ(good.replacements.size(), 1U);
  const Adapter beyond =
      adapter({{"target_modules", {"up"}}, {"trainable_token_indices", {3, 10}}}, parts);
  EXPECT_THAT(attach(beyond, checkpoint).problems,
              ElementsAre(HasSubstr("[2, 4] does not fit model.embed_tokens.weight [10, 4]")));
}

TEST_F(Scratch, AHeadOfItsOwnOnATiedBaseHasNoTarget) {
  const Checkpoint checkpoint =
      base({{"model.embed_tokens.weight", {.shape = {10, 4}}}, {"a.up.weight", {.shape = {6, 4}}}});
  const Adapter low_rank =
      adapter({{"modules_to_save", {"lm_head"}}}, {{"a.up.lora_A.weight", {.shape = {2, 4}}},
                                                   {"a.up.lora_B.weight", {.shape = {6, 2}}},
                                                   {"lm_head.weight", {.shape = {10, 4}}}});
  const AttachedAdapter attached = attach(low_rank, checkpoint);
  ASSERT_EQ(attached.replacements.size(), 1U);
  EXPECT_EQ(attached.replacements[0].target, nullptr);
  EXPECT_THAT(attached.unreached, IsEmpty());
}

// E = 3 experts of P [E, 4, 4]: only PEFT's version tells how the pair lies (F25).
TEST_F(Scratch, SquareExpertsFollowThePeftVersion) {
  const Checkpoint checkpoint = base({{"l.0.experts.down_proj", {.shape = {3, 4, 4}}}});
  const ScratchTensors parts = {{"l.0.experts.lora_A.weight", {.shape = {6, 4}}},
                                {"l.0.experts.lora_B.weight", {.shape = {4, 6}}}};
  const json config = {{"target_modules", json::array()},
                       {"target_parameters", {"experts.down_proj"}}};
  for (const auto& [version, transposed] :
       {std::pair{"0.18.1", true}, {"0.19.0", true}, {"0.19.1", false}, {"0.21.2", false}}) {
    json versioned = config;
    versioned["peft_version"] = version;
    const Adapter low_rank = adapter(versioned, parts);
    const AttachedAdapter attached = attach(low_rank, checkpoint);
    ASSERT_EQ(attached.deltas.size(), 1U) << version;
    EXPECT_EQ(attached.deltas[0].transposed, transposed) << version;
    EXPECT_EQ(attached.deltas[0].expert_count, 3);
    EXPECT_THAT(attached.surprises, ElementsAre(HasSubstr("is square")));
  }
}

TEST_F(Scratch, ExpertsTransposeByShapeWhereItTells) {
  const Checkpoint checkpoint = base({{"l.0.experts.down_proj", {.shape = {3, 4, 5}}}});
  const json config = {{"target_modules", json::array()},
                       {"target_parameters", {"experts.down_proj"}},
                       {"peft_version", "0.18.1"}};
  const Adapter low_rank = adapter(config, {{"l.0.experts.lora_A.weight", {.shape = {6, 5}}},
                                            {"l.0.experts.lora_B.weight", {.shape = {4, 6}}}});
  const AttachedAdapter attached = attach(low_rank, checkpoint);
  ASSERT_EQ(attached.deltas.size(), 1U);
  EXPECT_FALSE(attached.deltas[0].transposed);
  const Adapter turned = adapter(config, {{"l.0.experts.lora_A.weight", {.shape = {6, 4}}},
                                          {"l.0.experts.lora_B.weight", {.shape = {5, 6}}}});
  const AttachedAdapter other = attach(turned, checkpoint);
  ASSERT_EQ(other.deltas.size(), 1U);
  EXPECT_TRUE(other.deltas[0].transposed);
}

// llama.cpp's converter wrote these files of the golden adapters
// (tests/io/gguf/convert_adapters.py), numbers as stored.  On their base they must be the PEFT
// folder's pairs: names, scales, bits, and with Llama the rows of B of q and k back in the
// checkpoint's order.
class GgufAdapterOnItsBase : public testing::TestWithParam<const char*> {};

std::string bytes_of(const TensorView& view) {
  return {reinterpret_cast<const char*>(view.data), view.bytes};
}

TEST_P(GgufAdapterOnItsBase, IsThePeftFolderBitForBit) {
  const fs::path golden = kFolders / "golden" / GetParam();
  const Checkpoint base = Checkpoint::open(golden / "base");
  const Adapter peft = Adapter::open(golden / "adapter");
  const Adapter gguf =
      Adapter::open(kFolders / "io/gguf/adapters" / (std::string(GetParam()) + ".gguf"));
  const AttachedAdapter expected = attach(peft, base);
  const AttachedAdapter actual = attach(gguf, base);
  EXPECT_THAT(actual.unreached, IsEmpty());
  EXPECT_THAT(actual.problems, IsEmpty());
  EXPECT_THAT(actual.surprises, IsEmpty());
  ASSERT_EQ(actual.deltas.size(), expected.deltas.size());
  for (const AttachedDelta& delta : expected.deltas) {
    SCOPED_TRACE(delta.target->name);
    const AttachedDelta* same =
        delta.tied_head ? actual.head_delta() : actual.delta_for(*delta.target);
    ASSERT_NE(same, nullptr);
    EXPECT_EQ(same->transposed, delta.transposed);
    EXPECT_EQ(same->module->kind, delta.module->kind);
    EXPECT_EQ(same->module->scale, delta.module->scale);
    EXPECT_EQ(same->module->a.dtype, delta.module->a.dtype);
    EXPECT_EQ(same->module->a.shape, delta.module->a.shape);
    EXPECT_EQ(same->module->b.shape, delta.module->b.shape);
    EXPECT_EQ(bytes_of(same->module->a), bytes_of(delta.module->a));
    EXPECT_EQ(bytes_of(same->module->b), bytes_of(delta.module->b));
  }
}

INSTANTIATE_TEST_SUITE_P(All, GgufAdapterOnItsBase,
                         testing::Values("gemma2", "llama-embed-lora", "phi3-packed"));

TEST(GgufAdapterOnAnotherBase, IsNamedWithBothFamilies) {
  const Adapter adapter = Adapter::open(kFolders / "io/gguf/adapters/llama-embed-lora.gguf");
  const Checkpoint base = Checkpoint::open(kFolders / "golden/qwen2/base");
  EXPECT_THAT(attach(adapter, base).problems,
              testing::Contains(HasSubstr(
                  "the adapter is for a base that llama.cpp calls llama, the base is qwen2")));
  // Mistral's are written as Llama's.
  const Checkpoint mistral = Checkpoint::open(kFolders / "golden/mistral-sliding/base");
  EXPECT_THAT(attach(adapter, mistral).problems,
              testing::Not(testing::Contains(HasSubstr("calls"))));
}

}  // namespace
}  // namespace mg
