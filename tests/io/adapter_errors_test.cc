// What the reader says about adapters that cannot be verified, word for word.
#include <gtest/gtest.h>

#include <cmath>

#include <filesystem>
#include <string>
#include <vector>

#include "harness/io/adapter.h"
#include "tests/io/temp_folder.h"

namespace mg {
namespace {

constexpr const char* kQ = "base_model.model.model.layers.3.self_attn.q_proj.";

// A folder with one module of rank 8 and a config that fits; tests then break one thing.
class AdapterErrors : public ::testing::Test {
 protected:
  AdapterErrors() { config(R"("r": 8, "lora_alpha": 16, "target_modules": ["q_proj"])"); }

  void config(const std::string& body) {
    folder_.write("adapter_config.json", "{\"peft_type\": \"LORA\", " + body + "}");
  }
  void tensors(const std::vector<TestTensor>& tensors) {
    folder_.write_tensors("adapter_model.safetensors", tensors);
  }
  std::string error() {
    return folder_.error_of([&] { Adapter::open(folder_.path()); });
  }

  static TestTensor a(std::int64_t rank = 8) {
    return {std::string(kQ) + "lora_A.weight", {rank, 896}};
  }
  static TestTensor b(std::int64_t rank = 8) {
    return {std::string(kQ) + "lora_B.weight", {896, rank}};
  }

  TempFolder folder_;
};

TEST_F(AdapterErrors, NoErrorWithoutAFault) {
  tensors({a(), b()});
  EXPECT_EQ(error(), "no error");
}

TEST_F(AdapterErrors, Pickle) {
  folder_.write("adapter_model.bin", "PK");
  EXPECT_EQ(
      error(),
      "error[adapter.pickle]: the weights are in a PyTorch pickle, which could run code when read\n"
      "  where:    DIR\n"
      "  expected: adapter_model.safetensors   actual: adapter_model.bin\n"
      "  hint:     convert it first: python -c 'import torch, safetensors.torch as s; d = "
      "torch.load(\"DIR/adapter_model.bin\", map_location=\"cpu\", weights_only=True); "
      "s.save_file({k: v.contiguous() for k, v in d.items()}, \"DIR/adapter_model.safetensors\", "
      "metadata={\"format\": \"pt\"})'");
}

TEST_F(AdapterErrors, NoWeights) {
  EXPECT_EQ(error(),
            "error[adapter.no-weights]: the folder has no adapter_model.safetensors\n"
            "  where:    DIR\n"
            "  expected: adapter_model.safetensors   actual: nothing\n"
            "  hint:     the export or download did not finish: fetch or export the adapter again");
}

TEST_F(AdapterErrors, OtherTools) {
  folder_.write("adapters.safetensors", "x");
  EXPECT_EQ(error(),
            "error[adapter.mlx]: this is an adapter of MLX, whose names and layout differ\n"
            "  where:    DIR\n"
            "  expected: adapter_model.safetensors   actual: adapters.safetensors\n"
            "  hint:     fuse it with mlx_lm.fuse and compare the merged model");
}

TEST_F(AdapterErrors, NoConfig) {
  std::filesystem::remove(folder_.path() / "adapter_config.json");
  tensors({a(), b()});
  EXPECT_EQ(
      error(),
      "error[adapter.no-config]: the folder has no adapter_config.json\n"
      "  where:    DIR\n"
      "  expected: adapter_config.json   actual: nothing\n"
      "  hint:     rank and alpha stand there, and weights alone cannot be merged: fetch it from "
      "where the adapter came from");
  folder_.write("config.json", "{}");
  EXPECT_EQ(error(),
            "error[adapter.is-model]: this is a model, not an adapter\n"
            "  where:    DIR\n"
            "  expected: adapter_config.json   actual: config.json\n"
            "  hint:     give it as --base or --merged");
  folder_.write("my_adapter/adapter_config.json", "{}");
  EXPECT_EQ(error(),
            "error[adapter.subfolder]: the adapter lies one folder down\n"
            "  where:    DIR\n"
            "  expected: adapter_config.json   actual: DIR/my_adapter\n"
            "  hint:     give that folder: --adapter DIR/my_adapter");
}

TEST_F(AdapterErrors, AHubIdIsNamedAsSuch) {
  EXPECT_NE(
      folder_.error_of([] { Adapter::open("me/my-lora"); })
          .find("expected: an adapter folder   actual: nothing\n  hint:     mergegauge reads files "
                "and "
                "downloads nothing; fetch it first: hf download me/my-lora --local-dir my-lora"),
      std::string::npos);
}

TEST_F(AdapterErrors, OtherKindsOfAdapter) {
  folder_.write("adapter_config.json", R"({"peft_type": "LOHA", "r": 8})");
  EXPECT_EQ(error(),
            "error[adapter.peft-type]: this kind of adapter is not supported\n"
            "  where:    DIR/adapter_config.json, peft_type\n"
            "  expected: \"LORA\"   actual: \"LOHA\"\n"
            "  hint:     PEFT's convert_to_lora makes a LoRA of some other adapters");
  folder_.write("adapter_config.json", R"({"r": 8})");
  EXPECT_EQ(
      error(),
      "error[adapter.peft-type]: adapter_config.json does not say what kind of adapter this is\n"
      "  where:    DIR/adapter_config.json, peft_type\n"
      "  expected: \"LORA\"   actual: nothing\n"
      "  hint:     the file was not written by PEFT's save_pretrained");
}

TEST_F(AdapterErrors, EveryUnusableKeyAtOnce) {
  config(
      R"("r": 0, "target_modules": [1], "bias": "some", "use_dora": "yes", "rank_pattern": {"q": -1},
            "layers_pattern": "layers", "trainable_token_indices": {"e": [1.5]}, "init_lora_weights": 3)");
  tensors({a(), b()});
  EXPECT_EQ(error(),
            "error[adapter.config]: adapter_config.json cannot be used\n"
            "  where:    DIR/adapter_config.json\n"
            "  actual:   9 problems\n"
            "    r: expected a positive integer, found 0\n"
            "    lora_alpha: expected a number, found nothing\n"
            "    use_dora: expected true or false, found \"yes\"\n"
            "    bias: expected \"none\", \"all\" or \"lora_only\", found \"some\"\n"
            "    rank_pattern.q: expected a positive integer, found -1\n"
            "    target_modules: expected a list of strings, found [1]\n"
            "    trainable_token_indices.e: expected a list of non-negative integers, found [1.5]\n"
            "    init_lora_weights: expected true, false or a string, found 3\n"
            "    layers_pattern: expected layers_to_transform beside it, found none\n"
            "  hint:     compare with a file that PEFT's save_pretrained wrote");
}

TEST_F(AdapterErrors, APatternThatIsNoRegularExpression) {
  config(R"("r": 8, "lora_alpha": 16, "target_modules": "(q_proj")");
  tensors({a(), b()});
  EXPECT_EQ(error(),
            "error[adapter.config]: adapter_config.json cannot be used\n"
            "  where:    DIR/adapter_config.json\n"
            "  actual:   target_modules: expected a regular expression of Python's re, found "
            "\"(q_proj\": "
            "missing closing parenthesis at offset 7\n"
            "  hint:     compare with a file that PEFT's save_pretrained wrote");
}

TEST_F(AdapterErrors, APatternThatNeverEnds) {
  config(
      R"("r": 8, "lora_alpha": 16, "modules_to_save": ["(a+)+b"], "target_modules": ["q_proj"])");
  const std::string module = "base_model.model." + std::string(40, 'a') + ".b.";
  tensors({{module + "x", {8, 4}}});
  EXPECT_EQ(error(),
            "error[regex.limit]: the pattern needs too many steps on a module's name\n"
            "  where:    DIR/adapter_config.json, modules_to_save\n"
            "  expected: at most 1000000 steps   actual: match limit exceeded on "
            "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b\"\n"
            "  hint:     write the pattern without nested repetitions");
}

TEST_F(AdapterErrors, RankMismatch) {
  config(R"("r": 16, "lora_alpha": 16, "target_modules": ["q_proj"])");
  tensors({a(), b()});
  EXPECT_EQ(error(),
            "error[adapter.rank-mismatch]: lora_A has rank 8, adapter_config.json says r = 16\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight\n"
            "  expected: [16, 896]   actual: [8, 896]\n"
            "  hint:     rank_pattern has no entry for this module; re-export the adapter or add "
            "\"q_proj\": 8");
  config(
      R"("r": 8, "lora_alpha": 16, "rank_pattern": {"q_proj": 4}, "target_modules": ["q_proj"])");
  EXPECT_EQ(
      error(),
      "error[adapter.rank-mismatch]: lora_A has rank 8, adapter_config.json says rank_pattern = 4\n"
      "  where:    DIR/adapter_model.safetensors, "
      "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight\n"
      "  expected: [4, 896]   actual: [8, 896]\n"
      "  hint:     an entry of rank_pattern matches this module; re-export the adapter or correct "
      "the entry to 8");
}

TEST_F(AdapterErrors, FactorsOfDifferentRank) {
  tensors({a(8), b(4)});
  EXPECT_EQ(error(),
            "error[adapter.rank-mismatch]: A and B of a module have different ranks\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.layers.3.self_attn.q_proj.lora_B.weight\n"
            "  expected: [896, 8]   actual: [896, 4]\n"
            "  hint:     the two factors are of different runs: re-export the adapter");
}

TEST_F(AdapterErrors, HalfAPair) {
  tensors({a()});
  EXPECT_EQ(error(),
            "error[adapter.unpaired]: a low-rank pair is not complete\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight\n"
            "  expected: lora_A and lora_B of the module   actual: no B\n"
            "  hint:     the file was cut or filtered: save the adapter again with PEFT's "
            "save_pretrained");
}

TEST_F(AdapterErrors, UngatheredTensors) {
  tensors({a(), {std::string(kQ) + "lora_B.weight", {0}}});
  EXPECT_EQ(error(),
            "error[adapter.empty-tensor]: a tensor of the adapter is empty\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.layers.3.self_attn.q_proj.lora_B.weight\n"
            "  expected: at least one element   actual: [0]\n"
            "  hint:     DeepSpeed ZeRO-3 or FSDP saved it without gathering the weights: save "
            "again with them gathered");
  tensors({{std::string(kQ) + "lora_A.weight", {7168}}, b()});
  EXPECT_EQ(error(),
            "error[adapter.shape]: a low-rank factor has fewer than two dimensions\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight\n"
            "  expected: two dimensions   actual: [7168]\n"
            "  hint:     FSDP or ZeRO-3 saved it flattened: save again with the weights gathered");
}

TEST_F(AdapterErrors, QuantisedFactor) {
  tensors({{a().name, a().shape, DType::kI8}, b()});
  EXPECT_EQ(error(),
            "error[adapter.dtype]: a tensor of the adapter is not floating point\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight\n"
            "  expected: F32, BF16 or F16   actual: I8\n"
            "  hint:     save the adapter without quantising it");
}

TEST_F(AdapterErrors, DoraWithoutItsMagnitudeAndTheReverse) {
  config(R"("r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "use_dora": true)");
  tensors({a(), b()});
  EXPECT_EQ(
      error(),
      "error[adapter.dora]: use_dora is true, and the module has no magnitude\n"
      "  where:    DIR/adapter_model.safetensors, "
      "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight\n"
      "  expected: a lora_magnitude_vector beside it   actual: none\n"
      "  hint:     the export dropped it: save the adapter again with PEFT's save_pretrained");
  tensors({a(), b(), {std::string(kQ) + "lora_magnitude_vector", {895}}});
  EXPECT_EQ(error(),
            "error[adapter.dora]: the magnitude's length is not the module's output size\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.layers.3.self_attn.q_proj.lora_magnitude_vector\n"
            "  expected: [896]   actual: [895]\n"
            "  hint:     the two are of different runs: re-export the adapter");
  config(R"("r": 8, "lora_alpha": 16, "target_modules": ["q_proj"])");
  EXPECT_EQ(
      error(),
      "error[adapter.dora]: a DoRA magnitude although use_dora is false\n"
      "  where:    DIR/adapter_model.safetensors, "
      "base_model.model.model.layers.3.self_attn.q_proj.lora_magnitude_vector\n"
      "  expected: no lora_magnitude_vector, or use_dora: true   actual: a magnitude\n"
      "  hint:     PEFT would ignore it and compute plain LoRA: set use_dora to what was trained");
}

TEST_F(AdapterErrors, BiasOfBThatTheConfigDoesNotKnow) {
  tensors({a(), b(), {std::string(kQ) + "lora_B.bias", {896}}});
  EXPECT_EQ(error(),
            "error[adapter.lora-bias]: a lora_B.bias although lora_bias is false\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.layers.3.self_attn.q_proj.lora_B.bias\n"
            "  expected: no lora_B.bias, or lora_bias: true   actual: a bias\n"
            "  hint:     PEFT would ignore it: set lora_bias to what was trained");
}

TEST_F(AdapterErrors, TokenRowsWithoutIdsOrWithTooFew) {
  const TestTensor rows{"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
                        {2, 8}};
  tensors({a(), b(), rows});
  EXPECT_EQ(error(),
            "error[adapter.trainable-tokens]: rows of trained tokens without their token ids\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta\n"
            "  expected: an entry for this module in trainable_token_indices   actual: none\n"
            "  hint:     the ids stand in the training run's LoraConfig: write them into "
            "adapter_config.json");
  config(
      R"("r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "trainable_token_indices": [5, 6, 7])");
  EXPECT_EQ(error(),
            "error[adapter.trainable-tokens]: trained token rows and their ids differ in number\n"
            "  where:    DIR/adapter_model.safetensors, "
            "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta\n"
            "  expected: [3, hidden size]   actual: [2, 8]\n"
            "  hint:     adapter_config.json and adapter_model.safetensors are of different runs");
}

TEST_F(AdapterErrors, ParametersThatTheConfigDoesNotTarget) {
  config(R"("r": 8, "lora_alpha": 16, "target_parameters": ["experts.gate_up_proj"])");
  const std::string experts = "base_model.model.mlp.experts.";
  tensors({{experts + "lora_A.weight", {16, 4}},
           {experts + "lora_B.weight", {4, 16}},
           {experts + "base_layer.lora_A.weight", {16, 4}},
           {experts + "base_layer.lora_B.weight", {4, 16}}});
  EXPECT_EQ(
      error(),
      "error[adapter.target-parameters]: the adapter's tensors do not fit its config\n"
      "  where:    DIR/adapter_model.safetensors\n"
      "  actual:   2 problems\n"
      "    base_model.model.mlp.experts.lora_A.weight: nested pairs do not fit target_parameters "
      "(expected 1 pair(s), one for each of mlp.experts.gate_up_proj, found 2 pair(s))\n"
      "    base_model.model.mlp.experts.base_layer.lora_A.weight: nested pairs do not fit "
      "target_parameters (expected 1 pair(s), one for each of mlp.experts.gate_up_proj, found 2 "
      "pair(s))\n"
      "  hint:     adapter_config.json and adapter_model.safetensors are of different runs");
}

TEST_F(AdapterErrors, SeveralAdaptersInOneFile) {
  tensors({{std::string(kQ) + "lora_A.one.weight", {8, 4}},
           {std::string(kQ) + "lora_B.one.weight", {4, 8}},
           {std::string(kQ) + "lora_A.two.weight", {8, 4}},
           {std::string(kQ) + "lora_B.two.weight", {4, 8}}});
  EXPECT_EQ(error(),
            "error[adapter.several-adapters]: the file holds more than one adapter\n"
            "  where:    DIR/adapter_model.safetensors\n"
            "  expected: one adapter's name   actual: one, two\n"
            "  hint:     save each adapter to a folder of its own: save_pretrained(..., "
            "selected_adapters=[...])");
}

TEST_F(AdapterErrors, TheSamePartUnderTwoNames) {
  tensors({a(), b(), {std::string(kQ) + "lora_A.default.weight", {8, 896}}});
  EXPECT_EQ(
      error(),
      "error[adapter.duplicate]: two tensors stand for the same part of the adapter\n"
      "  where:    DIR/adapter_model.safetensors, "
      "base_model.model.model.layers.3.self_attn.q_proj.lora_A.default.weight\n"
      "  expected: one of them   actual: base_model.model.model.layers.3.self_attn.q_proj.lora_A."
      "weight\n"
      "  hint:     delete the older one");
}

TEST_F(AdapterErrors, NamesThatPeftWouldIgnore) {
  tensors({{"model.layers.3.self_attn.q_proj.lora_A.weight", {8, 4}},
           {"model.layers.3.self_attn.q_proj.lora_B.weight", {4, 8}}});
  EXPECT_EQ(
      error(),
      "error[adapter.names]: the tensors' names do not start as PEFT's do\n"
      "  where:    DIR/adapter_model.safetensors, model.layers.3.self_attn.q_proj.lora_A.weight\n"
      "  expected: base_model.model....   actual: 2 names without it\n"
      "  hint:     PEFT would load none of them and answer as the base does: rename them, or "
      "convert "
      "the adapter with the tool that wrote it");
  tensors({{"lora_te_text_model.lora_down.weight", {8, 4}}});
  EXPECT_EQ(error(),
            "error[adapter.no-lora]: the file holds no LoRA tensors\n"
            "  where:    DIR/adapter_model.safetensors, lora_te_text_model.lora_down.weight\n"
            "  expected: base_model.model.<module>.lora_A.weight   actual: 1 other names\n"
            "  hint:     this is not the weights file of a PEFT LoRA");
}

TEST_F(AdapterErrors, LintGetsTheProblemsAsAList) {
  tensors({a(4),
           b(4),
           {"base_model.model.model.layers.4.self_attn.q_proj.lora_A.weight", {8, 896}},
           {"base_model.model.model.layers.4.self_attn.q_proj.lora_B.weight", {896, 8}},
           {"odd", {1}}});
  const Adapter adapter = Adapter::open(folder_.path(), {.collect_problems = true});
  ASSERT_EQ(adapter.problems().size(), 1U);
  EXPECT_EQ(adapter.problems()[0].code, "adapter.rank-mismatch");
  ASSERT_EQ(adapter.modules().size(), 1U);
  EXPECT_EQ(adapter.modules()[0].module, "model.layers.4.self_attn.q_proj");
  EXPECT_EQ(adapter.unrecognised(), std::vector<std::string>{"odd"});
}

TEST_F(AdapterErrors, FeaturesAndUnknownKeysAreListedNotDropped) {
  config(R"("r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "alora_invocation_tokens": [1],
            "layer_replication": [[0, 4]], "use_qalora": true, "velora_config": {"x": 1},
            "use_mora": true, "mora_type": 0, "new_key": null, "init_lora_weights": "PiSSA_niter_4")");
  tensors({a(), b()});
  const AdapterConfig config = Adapter::open(folder_.path()).config();
  EXPECT_EQ(
      config.unsupported,
      (std::vector<std::string>{
          "alora_invocation_tokens (aLoRA: the adapter acts on some tokens only and cannot be "
          "merged)",
          "layer_replication (layer_replication: the model has more layers than its checkpoint)",
          "use_qalora (QALoRA: inputs are pooled before A)"}));
  EXPECT_EQ(config.unknown_keys, std::vector<std::string>{"use_mora"});
  EXPECT_TRUE(config.init_changes_base);
  EXPECT_EQ(config.init_lora_weights, "PiSSA_niter_4");
}

// PEFT copies the wrapped embedding as it is; on a 4-bit base that is codes and their companions.
TEST_F(AdapterErrors, CopiesOfAQuantisedBaseAreNoError) {
  config(R"("r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "modules_to_save": ["norm"])");
  tensors({a(),
           b(),
           {"base_model.model.lm_head.base_layer.weight", {32, 1}, DType::kU8},
           {"base_model.model.lm_head.base_layer.weight.absmax", {1}},
           {"base_model.model.norm.num_batches", {}, DType::kI64}});
  const Adapter adapter = Adapter::open(folder_.path());
  EXPECT_TRUE(adapter.unrecognised().empty());
  ASSERT_EQ(adapter.replacements().size(), 3U);
  EXPECT_TRUE(adapter.replacements()[0].base_copy);
  EXPECT_EQ(adapter.replacements()[1].name, "lm_head.weight.absmax");
  EXPECT_TRUE(adapter.replacements()[1].base_copy);
  EXPECT_EQ(adapter.replacements()[2].name, "norm.num_batches");
  EXPECT_FALSE(adapter.replacements()[2].base_copy);
}

TEST_F(AdapterErrors, OldNamesAndNamesWithTheAdaptersName) {
  config(
      R"("r": 8, "lora_alpha": 16, "use_rslora": true, "target_modules": ["q_proj", "embed_tokens"],
            "modules_to_save": ["mlp"])");
  tensors({{std::string(kQ) + "lora_A.mine.weight", {8, 4}},
           {std::string(kQ) + "lora_B.mine.weight", {4, 8}},
           {"base_model.model.embed_tokens.lora_embedding_A.mine", {8, 32}},
           {"base_model.model.embed_tokens.lora_embedding_B.mine", {4, 8}},
           {"base_model.model.embed_tokens.weight", {32, 4}},
           {"base_model.model.mlp.modules_to_save.mine.up.weight", {2, 2}}});
  const Adapter adapter = Adapter::open(folder_.path());
  EXPECT_EQ(adapter.name_in_file(), "mine");
  ASSERT_EQ(adapter.modules().size(), 2U);
  EXPECT_EQ(adapter.modules()[0].kind, LowRankKind::kEmbedding);
  EXPECT_DOUBLE_EQ(adapter.modules()[1].scale, 16 / std::sqrt(8.0));
  ASSERT_EQ(adapter.replacements().size(), 2U);
  EXPECT_EQ(adapter.replacements()[0].name, "embed_tokens.weight");
  EXPECT_TRUE(adapter.replacements()[0].base_copy);  // a LoRA lies on it: PEFT keeps the base's
  EXPECT_EQ(adapter.replacements()[1].name, "mlp.up.weight");
  EXPECT_FALSE(adapter.replacements()[1].base_copy);
}

}  // namespace
}  // namespace mg
