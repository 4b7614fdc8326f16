#include "harness/model/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "harness/io/checkpoint.h"
#include "kernels/core/error.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

const fs::path kTestData = MG_TEST_DATA;

// Every model folder of the goldens and the demo, found rather than listed, so that a new case is
// tested.
std::vector<fs::path> model_folders() {
  std::vector<fs::path> folders;
  for (const fs::path& root : {kTestData / "golden", kTestData / "demo"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (entry.path().filename() == "config.json") {
        folders.push_back(entry.path().parent_path());
      }
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::string test_name(const testing::TestParamInfo<fs::path>& info) {
  std::string name = fs::relative(info.param, kTestData).string();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

std::vector<std::string> problem_names(const ResolvedModel& model) {
  std::vector<std::string> names;
  for (const ResolveProblem& problem : model.problems) {
    names.push_back(problem.name);
  }
  return names;
}

class EveryModel : public testing::TestWithParam<fs::path> {};

TEST_P(EveryModel, ResolvesBothWays) {
  const Checkpoint checkpoint = Checkpoint::open(GetParam());
  const ResolvedModel model = resolve_model(checkpoint);
  EXPECT_THAT(problem_names(model), testing::IsEmpty());
  EXPECT_THAT(model.config.unknown_keys, testing::IsEmpty());
  EXPECT_NO_THROW(model.require_complete(checkpoint));
  // Rules and files agree in number: nothing is claimed twice, nothing passes unseen.
  std::set<const StoredTensor*> claimed(model.companions.begin(), model.companions.end());
  claimed.insert(model.buffers.begin(), model.buffers.end());
  for (const ResolvedTensor& tensor : model.tensors) {
    if (tensor.stored != nullptr) {
      EXPECT_TRUE(claimed.insert(tensor.stored).second) << tensor.stored->name;
    } else {
      EXPECT_TRUE(tensor.rule->optional) << tensor.expected_name;
    }
  }
  EXPECT_EQ(claimed.size(), checkpoint.tensors().size());
}

TEST_P(EveryModel, FindsTheHead) {
  const Checkpoint checkpoint = Checkpoint::open(GetParam());
  const ResolvedModel model = resolve_model(checkpoint);
  ASSERT_NE(model.head(), nullptr);
  EXPECT_EQ(model.head()->shape, (Shape{model.config.vocab_size, model.config.hidden_size}));
}

INSTANTIATE_TEST_SUITE_P(Goldens, EveryModel, testing::ValuesIn(model_folders()), test_name);

TEST(ResolveTest, TheListOfModelsIsNotEmpty) {
  EXPECT_GE(model_folders().size(), 40U);
}

using Kind = ResolveProblem::Kind;

// The header and config of a golden base, to be damaged.
class Damaged : public testing::Test {
 protected:
  void start(const std::string& golden) {
    const fs::path folder = kTestData / "golden" / golden / "base";
    config_ = load_json(folder / "config.json");
    tensors_ = read_header(folder / "model.safetensors");
  }
  ResolvedModel resolve() {
    checkpoint_.emplace(Checkpoint::open(folder_.write_model("model", config_, tensors_)));
    return resolve_model(*checkpoint_);
  }
  void rename(const std::string& from, const std::string& to) {
    auto node = tensors_.extract(from);
    node.key() = to;
    tensors_.insert(std::move(node));
  }
  void rename_all(const std::function<std::string(const std::string&)>& change) {
    ScratchTensors renamed;
    for (const auto& [name, tensor] : tensors_) {
      renamed[change(name)] = tensor;
    }
    tensors_ = std::move(renamed);
  }

  nlohmann::json config_;
  ScratchTensors tensors_;
  std::optional<Checkpoint> checkpoint_;
  ScratchFolder folder_;
};

void expect_one(const ResolvedModel& model, Kind kind, const std::string& name,
                const std::string& expected, const std::string& actual) {
  ASSERT_EQ(model.problems.size(), 1U);
  EXPECT_EQ(model.problems[0].kind, kind);
  EXPECT_EQ(model.problems[0].name, name);
  EXPECT_EQ(model.problems[0].expected, expected);
  EXPECT_EQ(model.problems[0].actual, actual);
}

TEST_F(Damaged, AMissingTensorIsNamed) {
  start("qwen2");
  tensors_.erase("model.layers.1.mlp.up_proj.weight");
  expect_one(resolve(), Kind::kMissing, "model.layers.1.mlp.up_proj.weight", "[112, 64]", "absent");
}

TEST_F(Damaged, AnExtraTensorIsNamed) {
  start("llama3-rope");
  tensors_["model.layers.0.self_attn.q_proj.bias"] = {.dtype = "BF16", .shape = {64}};
  expect_one(resolve(), Kind::kUnclaimed, "model.layers.0.self_attn.q_proj.bias",
             "no such tensor in llama", "[64]");
}

TEST_F(Damaged, AWrongShapeIsNamed) {
  start("phi3-packed");
  tensors_["model.layers.2.self_attn.qkv_proj.weight"].shape = {96, 64};
  expect_one(resolve(), Kind::kShape, "model.layers.2.self_attn.qkv_proj.weight", "[128, 64]",
             "[96, 64]");
}

// A transposed weight has as many elements.
TEST_F(Damaged, ATransposedWeightHasTheWrongShape) {
  start("gpt2-conv1d");
  tensors_["transformer.h.0.mlp.c_fc.weight"].shape = {256, 64};
  expect_one(resolve(), Kind::kShape, "transformer.h.0.mlp.c_fc.weight", "[64, 256]", "[256, 64]");
}

TEST_F(Damaged, ALayerTooManyAndALayerTooFew) {
  start("qwen2");
  config_["num_hidden_layers"] = 2;
  config_["layer_types"] = {"full_attention", "full_attention"};
  ResolvedModel model = resolve();
  EXPECT_EQ(model.problems.size(), 12U);
  for (const ResolveProblem& problem : model.problems) {
    EXPECT_EQ(problem.kind, Kind::kUnclaimed);
    EXPECT_TRUE(problem.name.starts_with("model.layers.2.")) << problem.name;
  }
  config_["num_hidden_layers"] = 4;
  config_["layer_types"] = nlohmann::json::array(
      {"full_attention", "full_attention", "full_attention", "full_attention"});
  model = resolve();
  EXPECT_EQ(model.problems.size(), 12U);
  EXPECT_EQ(model.problems[0].kind, Kind::kMissing);
}

// F60: flag false and no head; flag true and no head; flag true and a head.
TEST_F(Damaged, TheHeadFollowsTheTieFlag) {
  start("qwen2");
  tensors_.erase("lm_head.weight");
  expect_one(resolve(), Kind::kMissing, "lm_head.weight", "[320, 64]", "absent");
  config_["tie_word_embeddings"] = true;
  ResolvedModel tied = resolve();
  EXPECT_THAT(tied.problems, testing::IsEmpty());
  ASSERT_NE(tied.head(), nullptr);
  EXPECT_EQ(tied.head()->stored->name, "model.embed_tokens.weight");
  tensors_["lm_head.weight"] = {.dtype = "F16", .shape = {320, 64}};
  tied = resolve();
  EXPECT_THAT(tied.problems, testing::IsEmpty());
  EXPECT_EQ(tied.head()->stored->name, "lm_head.weight");
}

TEST_F(Damaged, EveryGenerationOfNamesResolves) {
  start("qwen2-vl");
  rename_all([](const std::string& name) {
    return name.starts_with("model.")    ? "model.language_model." + name.substr(6)
           : name.starts_with("visual.") ? "model." + name
                                         : name;
  });
  EXPECT_THAT(problem_names(resolve()), testing::IsEmpty());
  start("qwen2-vl");
  rename_all([](const std::string& name) {
    return name.starts_with("visual.") ? name : "language_model." + name;
  });
  EXPECT_THAT(problem_names(resolve()), testing::IsEmpty());
}

TEST_F(Damaged, TwoNamesForOneTensorCollide) {
  start("qwen2-vl");
  tensors_["model.language_model.norm.weight"] = {.dtype = "F16", .shape = {64}};
  const ResolvedModel model = resolve();
  ASSERT_EQ(model.problems.size(), 2U);
  EXPECT_EQ(model.problems[0].kind, Kind::kCollision);
  EXPECT_EQ(model.problems[0].expected, "one tensor for model.norm.weight");
  EXPECT_EQ(model.problems[1].kind, Kind::kUnclaimed);
}

TEST_F(Damaged, ABareBackboneResolves) {
  start("gpt2-conv1d");
  rename_all(
      [](const std::string& name) { return name.substr(std::string("transformer.").size()); });
  // The causal masks of the first published files.
  tensors_["h.0.attn.bias"] = {.dtype = "F16", .shape = {1, 1, 256, 256}};
  const ResolvedModel model = resolve();
  EXPECT_THAT(problem_names(model), testing::IsEmpty());
  EXPECT_EQ(model.buffers.size(), 1U);
}

TEST_F(Damaged, OldRotaryBuffersAreClaimed) {
  start("llama-tied");
  tensors_["model.layers.0.self_attn.rotary_emb.inv_freq"] = {.dtype = "F32", .shape = {8}};
  const ResolvedModel model = resolve();
  EXPECT_THAT(problem_names(model), testing::IsEmpty());
  EXPECT_EQ(model.buffers.size(), 1U);
}

TEST_F(Damaged, PackedCodesWithoutCompanionsHaveTheWrongShape) {
  start("qwen2-nf4");
  const std::string weight = "model.layers.0.mlp.up_proj.weight";
  std::erase_if(tensors_,
                [&weight](const auto& entry) { return entry.first.starts_with(weight + "."); });
  expect_one(resolve(), Kind::kShape, weight, "[112, 64]", "[3584, 1]");
}

TEST_F(Damaged, PackedCodesOfAnotherLengthHaveTheWrongShape) {
  start("qwen2-nf4");
  tensors_["model.layers.0.mlp.up_proj.weight"].shape = {3583, 1};
  expect_one(resolve(), Kind::kShape, "model.layers.0.mlp.up_proj.weight", "[112, 64]",
             "[3583, 1]");
}

TEST_F(Damaged, CompanionsWithoutTheirWeightAreMissingAWeight) {
  start("qwen2-int8");
  tensors_.erase("model.layers.0.mlp.up_proj.weight");
  expect_one(resolve(), Kind::kMissing, "model.layers.0.mlp.up_proj.weight", "[112, 64]",
             "only its companions");
}

TEST_F(Damaged, FusedExpertsResolveAsWell) {
  start("qwen3-moe");
  std::erase_if(tensors_, [](const auto& entry) {
    return entry.first.find(".experts.") != std::string::npos;
  });
  for (const std::string layer : {"0", "1", "2"}) {
    tensors_["model.layers." + layer + ".mlp.experts.gate_up_proj"] = {.dtype = "BF16",
                                                                       .shape = {6, 96, 64}};
    tensors_["model.layers." + layer + ".mlp.experts.down_proj"] = {.dtype = "BF16",
                                                                    .shape = {6, 64, 48}};
  }
  const ResolvedModel model = resolve();
  EXPECT_THAT(problem_names(model), testing::IsEmpty());
  EXPECT_TRUE(model.config.packed_experts);
  EXPECT_NE(model.find(Role::kExpertsGateUpProj, 1), nullptr);
  EXPECT_EQ(model.find(Role::kExpertGateProj, 1, 0), nullptr);
}

TEST_F(Damaged, RequireCompleteListsEverything) {
  start("qwen2");
  tensors_.erase("model.layers.1.mlp.up_proj.weight");
  tensors_["model.norm.weight"].shape = {32};
  const ResolvedModel model = resolve();
  try {
    model.require_complete(*checkpoint_);
    FAIL() << "accepted";
  } catch (const Error& error) {
    const std::string folder = checkpoint_->folder().string();
    EXPECT_EQ(std::string(error.what()),
              "error[checkpoint.tensors]: 2 tensors disagree with config.json (qwen2)\n"
              "  where:    " +
                  folder +
                  "\n"
                  "  expected: every tensor the architecture asks for and no other   actual: "
                  "model.norm.weight wrong "
                  "shape, expected [64], stored [32]; model.layers.1.mlp.up_proj.weight missing\n"
                  "  hint:     `mergegauge lint " +
                  folder + "` names the cause");
  }
}

// The scale follows what is stored, not what config.json declares (F05).
TEST_F(Damaged, TheEmbeddingScaleFollowsTheStoredDtype) {
  start("gemma3");
  config_["hidden_size"] = 72;  // sqrt(72) = 8.485...: 8.5 in BF16, 8.484375 in FP16
  config_["num_attention_heads"] = 4;
  for (auto& [name, tensor] : tensors_) {
    tensor.dtype = "F16";
    for (std::int64_t& dim : tensor.shape) {
      dim = dim == 64 && name.find("proj.weight") == std::string::npos ? 72 : dim;
    }
  }
  EXPECT_EQ(resolve().config.embedding_scale, 8.484375);
  for (auto& [name, tensor] : tensors_) {
    tensor.dtype = "BF16";
  }
  EXPECT_EQ(resolve().config.embedding_scale, 8.5);
}

// A config can ask for more tensors than memory holds.
TEST_F(Damaged, AConfigThatAsksForTooMuchIsRefused) {
  start("qwen3-moe");
  config_["num_hidden_layers"] = 4096;
  config_["num_local_experts"] = 4096;
  try {
    (void)resolve();
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.parts().code, "config.out-of-range");
    EXPECT_EQ(error.parts().expected, "at most 1000000 tensors");
  }
}

}  // namespace
}  // namespace mg
