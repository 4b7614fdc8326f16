#include "harness/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "harness/model/arch.h"
#include "kernels/core/error.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kConfigs = fs::path(MG_TEST_DATA) / "model" / "configs";

ModelConfig read(const json& config) {
  return find_architecture(config, "config.json").read_config(config, "config.json");
}

json published(const std::string& name) {
  return load_json(kConfigs / "transformers4" / (name + ".json"));
}

std::string error_of(const json& config) {
  try {
    (void)read(config);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::vector<std::string> published_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kConfigs / "transformers4")) {
    names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Published : public testing::TestWithParam<std::string> {};

TEST_P(Published, BothGenerationsOfKeysGiveTheSameModel) {
  const ModelConfig old_form = read(published(GetParam()));
  const ModelConfig new_form = read(load_json(kConfigs / "transformers5" / (GetParam() + ".json")));
  EXPECT_THAT(old_form.unknown_keys, testing::IsEmpty());
  EXPECT_THAT(new_form.unknown_keys, testing::IsEmpty());
  ModelConfig comparable = new_form;
  comparable.neutral_keys = old_form.neutral_keys;
  EXPECT_TRUE(comparable == old_form);
}

TEST_P(Published, AnUnreadKeyIsKept) {
  json config = published(GetParam());
  config["mystery_gate"] = 0.5;
  config["mystery_off"] = false;
  const ModelConfig read_config = read(config);
  EXPECT_THAT(read_config.unknown_keys, testing::ElementsAre("mystery_gate"));
  EXPECT_THAT(read_config.neutral_keys, testing::Contains("mystery_off"));
}

// Every key that decides arithmetic is read: taking it away or changing it changes the model or is
// an error.
TEST_P(Published, NoKeyIsReadAndIgnored) {
  const json config = published(GetParam());
  const ModelConfig original = read(config);
  for (const auto& [key, value] : config.items()) {
    if (!value.is_number_integer() || key.find("token_id") != std::string::npos) {
      continue;
    }
    json changed = config;
    changed[key] = value.get<std::int64_t>() * 2 + 2;
    ModelConfig other;
    try {
      other = read(changed);
    } catch (const Error&) {
      continue;
    }
    // Windows that are switched off, and what only other classes read, may change nothing.
    const bool may_be_idle = key == "sliding_window" || key == "max_window_layers" ||
                             key == "n_ctx" || key == "original_max_position_embeddings" ||
                             key == "pretraining_tp" || key == "max_sequence_length" ||
                             key == "full_attn_mod" || key == "interpolate_factor";
    EXPECT_TRUE(may_be_idle || !(other == original)) << key;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Published, testing::ValuesIn(published_names()),
                         [](const auto& case_info) {
                           std::string name = case_info.param;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

TEST(ConfigTest, TheListOfPublishedConfigsCoversEveryFamily) {
  std::set<std::string> types;
  for (const std::string& name : published_names()) {
    types.insert(published(name).at("model_type"));
  }
  for (const ArchSpec* arch : architectures()) {
    EXPECT_TRUE(!arch->forward || types.contains(std::string(arch->model_type)))
        << arch->model_type;  // header_rows_test.cc has the others
  }
}

TEST(ConfigTest, ReadsLlama3) {
  const ModelConfig config = read(published("llama-3.2"));
  EXPECT_EQ(config.model_type, "llama");
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.dtype, "bfloat16");
  EXPECT_EQ(config.vocab_size, 128256);
  EXPECT_EQ(config.hidden_size, 2048);
  EXPECT_EQ(config.intermediate_size, 8192);
  EXPECT_EQ(config.num_hidden_layers, 16);
  EXPECT_EQ(config.num_attention_heads, 32);
  EXPECT_EQ(config.num_key_value_heads, 8);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.attention_scale, 0.125);
  EXPECT_EQ(config.ropes.size(), 1U);
  const RopeConfig& rope = config.ropes[0];
  EXPECT_EQ(rope.kind, RopeConfig::Kind::kLlama3);
  EXPECT_EQ(rope.theta, 500000.0);
  EXPECT_EQ(rope.factor, 32.0);
  EXPECT_EQ(rope.low_freq_factor, 1.0);
  EXPECT_EQ(rope.high_freq_factor, 4.0);
  EXPECT_EQ(rope.original_max_position_embeddings, 8192);
}

TEST(ConfigTest, TakesTheClassDefaultsOfAnOldFile) {
  const ModelConfig config = read(published("llama-1"));
  EXPECT_EQ(config.num_key_value_heads, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_EQ(config.ropes[0].theta, 10000.0);
  EXPECT_FALSE(config.attention_bias);
}

TEST(ConfigTest, ReadsLinearAndDynamicScaling) {
  EXPECT_EQ(read(published("llama-linear")).ropes[0].kind, RopeConfig::Kind::kLinear);
  EXPECT_EQ(read(published("llama-linear")).ropes[0].factor, 8.0);
  const RopeConfig dynamic = read(published("llama-dynamic")).ropes[0];
  EXPECT_EQ(dynamic.kind, RopeConfig::Kind::kDynamic);
  EXPECT_EQ(dynamic.original_max_position_embeddings, 4096);
}

TEST(ConfigTest, ReadsMistralWindows) {
  EXPECT_EQ(read(published("mistral-7b-v0.1")).layers[5].sliding_window, 4096);
  EXPECT_EQ(read(published("mistral-7b-v0.3")).layers[5].sliding_window, 0);
  json absent = published("mistral-7b-v0.1");
  absent.erase("sliding_window");  // the class assumes 4096
  EXPECT_EQ(read(absent).layers[5].sliding_window, 4096);
}

TEST(ConfigTest, ReadsQwenWindowsAndYarn) {
  const ModelConfig off = read(published("qwen2.5-0.5b"));
  EXPECT_TRUE(off.attention_bias);
  EXPECT_FALSE(off.output_bias);
  EXPECT_EQ(off.layers[23].sliding_window, 0);
  const ModelConfig on = read(published("qwen2-yarn-windows"));
  EXPECT_EQ(on.layers[2].sliding_window, 0);
  EXPECT_EQ(on.layers[3].sliding_window, 131072);
  EXPECT_EQ(on.ropes[0].kind, RopeConfig::Kind::kYarn);
  // transformers 5.23, ROPE_INIT_FUNCTIONS["yarn"], gives this value.
  EXPECT_DOUBLE_EQ(on.ropes[0].attention_factor, 1.138629436111989);
}

TEST(ConfigTest, ReadsPhiLongrope) {
  const ModelConfig config = read(published("phi-4-mini"));
  const RopeConfig& rope = config.ropes[0];
  EXPECT_EQ(rope.kind, RopeConfig::Kind::kLongRope);
  EXPECT_EQ(rope.partial_rotary_factor, 0.75);
  EXPECT_EQ(rope.original_max_position_embeddings, 4096);
  EXPECT_EQ(rope.short_factor.size(), 48U);
  EXPECT_EQ(rope.long_factor[47], 24.5);
  // transformers 5.23, ROPE_INIT_FUNCTIONS["longrope"].
  EXPECT_DOUBLE_EQ(rope.attention_factor, 1.1902380714238083);
  EXPECT_EQ(config.layers[0].sliding_window, 262144);
  json alias = published("phi-4-mini");
  alias["rope_scaling"]["type"] = "su";
  EXPECT_TRUE(read(alias) == config);
}

TEST(ConfigTest, ReadsGemma2) {
  const ModelConfig config = read(published("gemma-2-2b"));
  EXPECT_EQ(config.norm, NormKind::kRmsPlusOne);
  EXPECT_TRUE(config.post_norms);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.activation, Activation::kGeluTanh);
  EXPECT_EQ(config.attention_softcap, 50.0);
  EXPECT_EQ(config.final_softcap, 30.0);
  EXPECT_EQ(config.embedding_scale, 48.0);
  EXPECT_EQ(config.attention_scale, 1.0 / 16.0);
  EXPECT_EQ(config.layers[0].sliding_window, 4096);
  EXPECT_EQ(config.layers[1].sliding_window, 0);
}

TEST(ConfigTest, ReadsGemma3) {
  const ModelConfig config = read(published("gemma-3-1b"));
  EXPECT_TRUE(config.qk_norm);
  EXPECT_EQ(config.attention_softcap, 0.0);
  EXPECT_EQ(config.ropes.size(), 2U);
  EXPECT_EQ(config.ropes[0].theta, 1e6);
  EXPECT_EQ(config.ropes[1].theta, 1e4);
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const bool full = l % 6 == 5;
    EXPECT_EQ(config.layers[l].sliding_window, full ? 0 : 512) << l;
    EXPECT_EQ(config.layers[l].rope, full ? 0 : 1) << l;
  }
  // sqrt(1152) = 33.94... is 34 in BF16 (spacing 0.25 there), 33.9375 in FP16 (spacing 1/32).
  EXPECT_EQ(config.embedding_scale, 34.0);
  EXPECT_EQ(embedding_scale_for(1152, DType::kF16), 33.9375);
  EXPECT_EQ(embedding_scale_for(1152, DType::kF32),
            static_cast<double>(static_cast<float>(std::sqrt(1152.0))));
}

TEST(ConfigTest, Gemma3ScalingConcernsTheGlobalLayersAlone) {
  json config = published("gemma-3-1b");
  config["rope_scaling"] = {{"factor", 8.0}, {"rope_type", "linear"}};
  const ModelConfig read_config = read(config);
  EXPECT_EQ(read_config.ropes[0].kind, RopeConfig::Kind::kLinear);
  EXPECT_EQ(read_config.ropes[0].factor, 8.0);
  EXPECT_EQ(read_config.ropes[1].kind, RopeConfig::Kind::kDefault);
}

TEST(ConfigTest, ReadsGpt2) {
  const ModelConfig config = read(published("gpt2"));
  EXPECT_EQ(config.norm, NormKind::kLayerNorm);
  EXPECT_TRUE(config.conv1d && config.learned_positions && config.packed_qkv);
  EXPECT_FALSE(config.gated_mlp);
  EXPECT_EQ(config.intermediate_size, 3072);
  EXPECT_EQ(config.max_position_embeddings, 1024);
  EXPECT_TRUE(config.tie_word_embeddings);  // the class default, absent from the file
  EXPECT_FALSE(config.layers[0].use_rope);
  EXPECT_TRUE(config.ropes.empty());
}

TEST(ConfigTest, ReadsExperts) {
  const ModelConfig config = read(published("qwen3-30b-a3b"));
  EXPECT_EQ(config.num_experts, 128);
  EXPECT_EQ(config.num_experts_per_tok, 8);
  EXPECT_EQ(config.moe_intermediate_size, 768);
  EXPECT_TRUE(config.norm_topk_prob);
  json sparse = published("qwen3-30b-a3b");
  sparse["decoder_sparse_step"] = 2;
  sparse["mlp_only_layers"] = {3};
  const ModelConfig mixed = read(sparse);
  EXPECT_FALSE(mixed.layers[0].moe);
  EXPECT_TRUE(mixed.layers[1].moe);
  EXPECT_FALSE(mixed.layers[3].moe);
}

TEST(ConfigTest, ReadsTheVisionTower) {
  const ModelConfig config = read(published("qwen2-vl-7b"));
  EXPECT_EQ(config.ropes[0].kind, RopeConfig::Kind::kMrope);
  EXPECT_THAT(config.ropes[0].mrope_section, testing::ElementsAre(16, 24, 24));
  ASSERT_TRUE(config.vision.has_value());
  EXPECT_EQ(config.vision->depth, 32);
  EXPECT_EQ(config.vision->embed_dim, 1280);
  EXPECT_EQ(config.vision->image_token_id, 151655);
  EXPECT_EQ(config.vision->activation, Activation::kQuickGelu);
}

// Files written before transformers 5 carry the flag in text_config (F60).
TEST(ConfigTest, FindsTheTieFlagAtEitherLevel) {
  json config = load_json(kConfigs / "transformers5" / "qwen2-vl-7b.json");
  config["text_config"]["tie_word_embeddings"] = true;
  EXPECT_TRUE(read(config).tie_word_embeddings);
  config.erase("tie_word_embeddings");
  EXPECT_TRUE(read(config).tie_word_embeddings);
  config["text_config"].erase("tie_word_embeddings");
  EXPECT_FALSE(read(config).tie_word_embeddings);
}

// transformers 4.52 and later repeat text keys at the root; a copy that differs is left over.
TEST(ConfigTest, ATextKeyRepeatedAtTheRootMustAgree) {
  json config = load_json(kConfigs / "transformers5" / "qwen2-vl-7b.json");
  config["hidden_size"] = 3584;
  EXPECT_THAT(read(config).unknown_keys, testing::IsEmpty());
  config["hidden_size"] = 4096;
  EXPECT_EQ(read(config).hidden_size, 3584);
  EXPECT_THAT(read(config).unknown_keys, testing::ElementsAre("hidden_size"));
}

TEST(ConfigTest, TheNewDtypeKeyWinsOverTheOld) {
  json config = published("llama-3.2");
  config["dtype"] = "float16";
  EXPECT_EQ(read(config).dtype, "float16");
}

TEST(ConfigTest, AnUnreadRopeKeyIsKept) {
  json config = published("llama-3.2");
  config["rope_scaling"]["finetuned"] = true;
  EXPECT_THAT(read(config).unknown_keys, testing::ElementsAre("rope_scaling.finetuned"));
}

struct BadConfig {
  std::string name;
  std::string base;
  std::function<void(json&)> change;
  std::string error;
};

class RefusedConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(RefusedConfig, WithThisText) {
  json config = published(GetParam().base);
  GetParam().change(config);
  EXPECT_EQ(error_of(config), GetParam().error);
}

const std::vector<BadConfig> kBad = {
    {"UnknownArchitecture", "llama-3.2", [](json& c) { c["model_type"] = "lama"; },
     "error[config.unknown-architecture]: this architecture is not known\n"
     "  where:    config.json, key model_type\n"
     "  expected: one of deepseek_v3, ernie4_5_moe_vl, ernie4_5_vl_moe, gemma2, gemma3_text, "
     "gemma3, gpt2, kimi_k2, llama, llama4, llama4_text, minicpmv, minimax, minimax_text_01, "
     "minimax_m1, minimax_m2, mistral, phi3, qwen2, qwen2_vl, qwen2_5_vl, qwen3, qwen3_moe, "
     "qwen3_vl, qwen3_vl_moe"
     "   actual: lama\n"
     "  hint:     nearest known: llama"},
    {"UnknownClass", "llama-3.2",
     [](json& c) { c["architectures"] = {"LlamaForSequenceClassification"}; },
     "error[config.unknown-architecture]: this architecture is not known\n"
     "  where:    config.json, key architectures\n"
     "  expected: one of LlamaForCausalLM   actual: LlamaForSequenceClassification\n"
     "  hint:     CONTRIBUTING.md says what one file to add; `mergegauge audit` works without"},
    {"MissingKey", "qwen2.5-0.5b", [](json& c) { c.erase("hidden_size"); },
     "error[config.missing-key]: \"hidden_size\" is missing\n"
     "  where:    config.json, key hidden_size\n"
     "  expected: an integer   actual: no such key\n"
     "  hint:     the config is a stub; take config.json from the base model"},
    {"WrongType", "qwen2.5-0.5b", [](json& c) { c["num_hidden_layers"] = "24"; },
     "error[config.wrong-type]: \"num_hidden_layers\" has the wrong type\n"
     "  where:    config.json, key num_hidden_layers\n"
     "  expected: an integer   actual: \"24\"\n"
     "  hint:     take the value from the base model's config.json"},
    {"OutOfRange", "qwen2.5-0.5b", [](json& c) { c["vocab_size"] = -5; },
     "error[config.out-of-range]: \"vocab_size\" is out of range\n"
     "  where:    config.json, key vocab_size\n"
     "  expected: 1 to 268435456   actual: -5\n"
     "  hint:     take the value from the base model's config.json"},
    {"UnknownActivation", "llama-3.2", [](json& c) { c["hidden_act"] = "gelu_new2"; },
     "error[config.unknown-value]: \"hidden_act\" has a value that is not known\n"
     "  where:    config.json, key hidden_act\n"
     "  expected: one of silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, quick_gelu, "
     "relu"
     "   actual: gelu_new2\n"
     "  hint:     did you mean \"gelu_new\"?"},
    {"UnknownRope", "llama-3.2", [](json& c) { c["rope_scaling"]["rope_type"] = "spiral"; },
     "error[config.unknown-value]: \"rope_type\" has a value that is not known\n"
     "  where:    config.json, key rope_scaling.rope_type\n"
     "  expected: one of default, linear, dynamic, yarn, longrope, llama3   actual: spiral\n"
     "  hint:     it is not computed here; nothing is guessed in its place"},
    {"RopeGenerationsDisagree", "llama-3.2",
     [](json& c) {
       c["rope_parameters"] = c["rope_scaling"];
       c["rope_parameters"]["rope_theta"] = 500000.0;
       c["rope_parameters"]["factor"] = 8.0;
     },
     "error[config.conflict]: two keys that mean the same disagree\n"
     "  where:    config.json, key rope_scaling.factor\n"
     "  expected: 8.0 as in config.json, key rope_parameters.factor   actual: 32.0\n"
     "  hint:     readers of different versions compute different models from this file; take the "
     "rope keys "
     "from the base model"},
    {"ThetaDisagrees", "mistral-7b-v0.3",
     [](json& c) {
       c["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 10000.0}};
     },
     "error[config.conflict]: two keys that mean the same disagree\n"
     "  where:    config.json, key rope_theta\n"
     "  expected: 10000.0 as in config.json, key rope_parameters.rope_theta   actual: 1000000.0\n"
     "  hint:     readers of different versions compute different models from this file; take the "
     "rope keys "
     "from the base model"},
    {"PartialRotary", "llama-3.2", [](json& c) { c["partial_rotary_factor"] = 0.5; },
     "error[config.unsupported]: this value of \"partial_rotary_factor\" is not supported\n"
     "  where:    config.json, key partial_rotary_factor\n"
     "  expected: 1: this family rotates whole heads   actual: 0.5\n"
     "  hint:     the reference implementation ignores the key for this family"},
    {"LayerTypesTooShort", "qwen3-0.6b",
     [](json& c) { c["layer_types"] = json::array({"full_attention"}); },
     "error[config.unsupported]: this value of \"layer_types\" is not supported\n"
     "  where:    config.json, key layer_types\n"
     "  expected: one entry for each of num_hidden_layers = 28   actual: [\"full_attention\"]\n"
     "  hint:     take the value from the base model's config.json"},
    {"Bidirectional", "gemma-3-1b", [](json& c) { c["use_bidirectional_attention"] = true; },
     "error[config.unsupported]: this value of \"use_bidirectional_attention\" is not supported\n"
     "  where:    config.json, key use_bidirectional_attention\n"
     "  expected: false   actual: true\n"
     "  hint:     only causal attention is computed"},
    {"NotAnObject", "llama-3.2", [](json& c) { c["rope_scaling"] = json::array({1}); },
     "error[config.wrong-type]: \"rope_scaling\" is not an object\n"
     "  where:    config.json, key rope_scaling\n"
     "  expected: an object   actual: [1]\n"
     "  hint:     take config.json from the base model"},
};

INSTANTIATE_TEST_SUITE_P(Errors, RefusedConfig, testing::ValuesIn(kBad),
                         [](const auto& case_info) { return case_info.param.name; });

TEST(ArchTest, EveryShapeOfEveryRuleEvaluates) {
  for (const std::string& name : published_names()) {
    const ModelConfig config = read(published(name));
    const ArchSpec& arch = find_architecture(published(name), "config.json");
    for (const TensorRule& rule : arch.rules) {
      const Shape shape = shape_of(rule, config);
      EXPECT_FALSE(shape.empty()) << rule.name;
      for (const std::int64_t dim : shape) {
        EXPECT_GT(dim, 0) << rule.name;
      }
    }
  }
}

TEST(ArchTest, EveryRoleHasItsOwnName) {
  std::set<std::string_view> names;
  for (int role = 0; role < static_cast<int>(Role::kCount); ++role) {
    EXPECT_TRUE(names.insert(role_name(static_cast<Role>(role))).second);
  }
}

}  // namespace
}  // namespace mg
