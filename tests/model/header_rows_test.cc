// The rows that know headers alone, against names and shapes of checkpoints (headers/README.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/io/checkpoint.h"
#include "harness/model/names.h"
#include "harness/model/resolve.h"
#include "kernels/core/error.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using Kind = ResolveProblem::Kind;

struct Recorded {
  std::string name;
  nlohmann::json config;
  ScratchTensors tensors;
};

std::vector<Recorded> recorded() {
  std::vector<Recorded> all;
  for (const auto& entry : fs::directory_iterator(fs::path(MG_TEST_DATA) / "model" / "headers")) {
    if (entry.path().extension() != ".json") {
      continue;
    }
    const nlohmann::json file = load_json(entry.path());
    Recorded one = {entry.path().stem(), file.at("config"), {}};
    for (const auto& [name, shape] : file.at("tensors").items()) {
      one.tensors[name] = {.dtype = "BF16", .shape = shape.get<Shape>()};
    }
    all.push_back(std::move(one));
  }
  return all;
}

Recorded recorded(const std::string& name) {
  for (Recorded& one : recorded()) {
    if (one.name == name) {
      return std::move(one);
    }
  }
  throw std::invalid_argument(name);
}

/// What a header over these tensors has wrong, by kind.
struct Wrong {
  std::set<std::string> missing;
  std::set<std::string> misshapen;
  std::set<std::string> unclaimed;
};

Wrong wrong_with(const nlohmann::json& config, const ScratchTensors& tensors) {
  const ScratchFolder folder;
  const Checkpoint checkpoint = Checkpoint::open(folder.write_model("model", config, tensors));
  Wrong wrong;
  for (const ResolveProblem& problem : resolve_model(checkpoint).problems) {
    (problem.kind == Kind::kMissing ? wrong.missing
     : problem.kind == Kind::kShape ? wrong.misshapen
                                    : wrong.unclaimed)
        .insert(canonical_name(problem.name));
  }
  return wrong;
}

bool is_computed(const std::string& name) {  // the buffers of MiniMax
  return name.ends_with("_decay") || name.ends_with("slope_rate");
}

std::set<std::string> canonical_names(const ScratchTensors& tensors) {
  std::set<std::string> names;
  for (const auto& [name, unused] : tensors) {
    if (!is_computed(name)) {
      names.insert(canonical_name(name));
    }
  }
  return names;
}

TEST(HeaderRows, AskForWhatIsRecordedAndNothingElse) {
  for (const Recorded& one : recorded()) {
    const Wrong intact = wrong_with(one.config, one.tensors);
    EXPECT_THAT(intact.missing, testing::IsEmpty()) << one.name;
    EXPECT_THAT(intact.misshapen, testing::IsEmpty()) << one.name;
    EXPECT_THAT(intact.unclaimed, testing::IsEmpty()) << one.name;
    // Under other names all are missed, and all of those names are nobody's.
    ScratchTensors renamed;
    for (const auto& [name, tensor] : one.tensors) {
      renamed["other." + name] = tensor;
    }
    EXPECT_EQ(wrong_with(one.config, renamed).missing, canonical_names(one.tensors)) << one.name;
  }
}

TEST(HeaderRows, KnowEveryShape) {
  for (const Recorded& one : recorded()) {
    ScratchTensors longer = one.tensors;
    for (auto& [name, tensor] : longer) {
      tensor.shape.front() += 1;
    }
    EXPECT_EQ(wrong_with(one.config, longer).misshapen, canonical_names(one.tensors)) << one.name;
  }
}

TEST(HeaderRows, CoverEveryArchitectureWithoutAForwardPass) {
  std::set<std::string> types;
  for (const Recorded& one : recorded()) {
    types.insert(one.config.at("model_type"));
  }
  // The same rules under another model_type, tested below.
  types.insert({"ernie4_5_moe_vl", "kimi_k2", "minimax_m1"});
  for (const ArchSpec* arch : architectures()) {
    EXPECT_TRUE(arch->forward || types.contains(std::string(arch->model_type))) << arch->model_type;
  }
}

void expect_right(const nlohmann::json& config, const ScratchTensors& tensors) {
  const Wrong wrong = wrong_with(config, tensors);
  EXPECT_THAT(wrong.missing, testing::IsEmpty());
  EXPECT_THAT(wrong.misshapen, testing::IsEmpty());
  EXPECT_THAT(wrong.unclaimed, testing::IsEmpty());
}

TEST(HeaderRows, KimiK2IsDeepSeekUnderAnotherName) {
  Recorded one = recorded("deepseek_v3");
  one.config["model_type"] = "kimi_k2";
  expect_right(one.config, one.tensors);
}

TEST(HeaderRows, DeepSeekMayKeepTheLayerThatPredictsFurther) {
  Recorded one = recorded("deepseek_v3");
  one.config["num_nextn_predict_layers"] = 1;
  one.tensors["model.layers.3.eh_proj.weight"] = {.dtype = "BF16", .shape = {48, 96}};
  expect_right(one.config, one.tensors);
  one.config["num_nextn_predict_layers"] = 0;
  EXPECT_THAT(wrong_with(one.config, one.tensors).unclaimed,
              testing::ElementsAre("model.layers.3.eh_proj.weight"));
}

TEST(HeaderRows, MiniMaxM1IsText01UnderAnotherName) {
  Recorded one = recorded("minimax_text_01");
  one.config["model_type"] = "minimax_m1";
  one.config["architectures"] = {"MiniMaxM1ForCausalLM"};
  expect_right(one.config, one.tensors);
}

// The Hub's config of ERNIE 4.5 VL keeps the text's keys at the root, and pairs of numbers for the
// experts of the text and of the images.
TEST(HeaderRows, ErnieInTheHubsForm) {
  Recorded one = recorded("ernie4_5_vl_moe");
  nlohmann::json config = one.config.at("text_config");
  config["model_type"] = "ernie4_5_moe_vl";
  config["architectures"] = one.config.at("architectures");
  config.erase("mlp_layer_types");
  config["moe_num_experts"] = {4, 4};
  config["moe_layer_start_index"] = {1, 1};
  config["moe_layer_end_index"] = {29, 28};
  config["vision_config"] = {{"depth", 2},     {"embed_dim", 20},  {"hidden_size", 20},
                             {"mlp_ratio", 4}, {"in_channels", 3}, {"patch_size", 14}};
  config["temporal_conv_size"] = 2;
  ScratchTensors tensors;
  for (const auto& [name, tensor] : one.tensors) {
    tensors[name.starts_with("model.vision_model.") ? name.substr(6) : name] = tensor;
  }
  expect_right(config, tensors);
}

// The Hub's Gemma 3 keeps SigLIP's inner level, and leaves out what equals the class defaults.
TEST(HeaderRows, GemmaInTheHubsForm) {
  Recorded one = recorded("gemma3");
  ScratchTensors tensors;
  for (const auto& [name, tensor] : one.tensors) {
    const bool tower = name.starts_with("vision_tower.");
    tensors[tower ? "vision_tower.vision_model." + name.substr(13) : name] = tensor;
  }
  expect_right(one.config, tensors);
  one.config["text_config"] = {{"model_type", "gemma3_text"},
                               {"hidden_size", 2560},
                               {"intermediate_size", 10240},
                               {"num_hidden_layers", 34},
                               {"sliding_window", 1024}};
  const ModelConfig config = find_architecture(one.config, "").read_config(one.config, "");
  EXPECT_EQ(config.vocab_size, 262208);
  EXPECT_EQ(config.num_attention_heads, 8);
  EXPECT_EQ(config.num_key_value_heads, 4);
  EXPECT_EQ(config.head_dim, 256);
}

TEST(HeaderRows, TheExpertsOfQwen3VlLieInEitherOrder) {
  Recorded one = recorded("qwen3_vl_moe");
  for (auto& [name, tensor] : one.tensors) {
    if (name.find(".experts.") != std::string::npos) {
      std::swap(tensor.shape[1], tensor.shape[2]);
    }
  }
  expect_right(one.config, one.tensors);
}

TEST(HeaderRows, AnotherMiniCpmIsNotGuessed) {
  nlohmann::json config = recorded("minicpmv_2_6").config;
  config["version"] = "2.0";
  try {
    (void)find_architecture(config, "config.json").read_config(config, "config.json");
    FAIL() << "read";
  } catch (const Error& error) {
    EXPECT_EQ(error.parts().code, "config.unsupported");
    EXPECT_EQ(error.parts().expected, "2.5, 2.6, 4.0 or 4.5");
  }
}

TEST(HeaderRows, HaveNoForwardPassAndSayWhichDo) {
  const Recorded one = recorded("deepseek_v3");
  try {
    require_forward(find_architecture(one.config, "config.json"), "some/folder");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              "error[model.no-forward]: this architecture's tensors are known, and its computation "
              "is not\n"
              "  where:    some/folder\n"
              "  expected: one of gemma2, gemma3_text, gpt2, llama, mistral, phi3, qwen2, "
              "qwen2_vl, qwen2_5_vl, qwen3, qwen3_moe   actual: deepseek_v3\n"
              "  hint:     `mergegauge lint` and `mergegauge audit` work on it");
  }
}

}  // namespace
}  // namespace mg
