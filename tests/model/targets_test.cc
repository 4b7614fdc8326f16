#include "harness/model/targets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "harness/model/names.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

const fs::path kCases = MG_TEST_DATA;

// An adapter whose file holds rank-2 pairs for these modules, of shapes that do not matter here.
fs::path write_adapter(const ScratchFolder& folder, const json& config,
                       const std::vector<std::string>& modules) {
  json full = {{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}};
  full.update(config);
  ScratchTensors tensors;
  for (const std::string& module : modules) {
    const bool embedding = is_embedding_module(module);
    const std::string prefix = "base_model.model." + module;
    tensors[prefix + (embedding ? ".lora_embedding_A" : ".lora_A.weight")] = {.shape = {2, 4}};
    tensors[prefix + (embedding ? ".lora_embedding_B" : ".lora_B.weight")] = {.shape = {4, 2}};
  }
  return folder.write_adapter("adapter", full, tensors);
}

std::vector<std::string> canonical(const json& modules) {
  std::vector<std::string> names;
  for (const std::string name : modules) {
    names.push_back(canonical_name(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

json recorded_targets() {
  return load_json(kCases / "model" / "peft" / "targets.json");
}

class RecordedTargets : public testing::TestWithParam<std::size_t> {
 protected:
  json record_ = recorded_targets()[GetParam()];
  Checkpoint base_ =
      Checkpoint::open(kCases / "golden" / record_.at("case").get<std::string>() / "base");
  BaseIndex index_{base_};
  ScratchFolder folder_;

  json config() const {
    json config = record_.at("config");
    config["target_modules"] = record_.at("target_modules");
    return config;
  }
};

TEST_P(RecordedTargets, AreThoseThatPeftWraps) {
  const Adapter adapter = Adapter::open(
      write_adapter(folder_, config(), record_.at("modules").get<std::vector<std::string>>()));
  const TargetCheck check = check_targets(adapter, index_);
  EXPECT_EQ(check.expected, canonical(record_.at("modules")));
  EXPECT_THAT(check.missing, IsEmpty());
  EXPECT_THAT(check.extra, IsEmpty());
}

TEST_P(RecordedTargets, ALostPairIsMissed) {
  auto modules = record_.at("modules").get<std::vector<std::string>>();
  const std::string lost = canonical_name(modules.back());
  modules.pop_back();
  const Adapter adapter = Adapter::open(write_adapter(folder_, config(), modules));
  EXPECT_THAT(check_targets(adapter, index_).missing, ElementsAre(lost));
}

INSTANTIATE_TEST_SUITE_P(Peft, RecordedTargets,
                         testing::Range<std::size_t>(0, recorded_targets().size()));

TEST(TargetsTest, APairThatTheConfigDoesNotNameIsExtra) {
  const ScratchFolder folder;
  const Checkpoint base = Checkpoint::open(kCases / "golden" / "qwen2" / "base");
  const Adapter adapter = Adapter::open(
      write_adapter(folder, {{"target_modules", {"q_proj"}}},
                    {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj",
                     "model.layers.2.self_attn.q_proj", "model.layers.2.self_attn.o_proj"}));
  const TargetCheck check = check_targets(adapter, BaseIndex(base));
  EXPECT_THAT(check.extra, ElementsAre("model.layers.2.self_attn.o_proj"));
  EXPECT_THAT(check.missing, IsEmpty());
}

TEST(TargetsTest, ABareBackboneIsMatchedUnderTheAdaptersNames) {
  const ScratchFolder folder;
  const json config = load_json(kCases / "golden" / "gpt2-conv1d" / "base" / "config.json");
  ScratchTensors tensors;
  for (const auto& [name, tensor] :
       read_header(kCases / "golden" / "gpt2-conv1d" / "base" / "model.safetensors")) {
    tensors[name.substr(std::string("transformer.").size())] = tensor;
  }
  const Checkpoint base = Checkpoint::open(folder.write_model("bare", config, tensors));
  const Adapter adapter = Adapter::open(kCases / "golden" / "gpt2-conv1d" / "adapter");
  const TargetCheck check = check_targets(adapter, BaseIndex(base));
  EXPECT_EQ(check.expected.size(), 12U);
  EXPECT_THAT(check.missing, IsEmpty());
  EXPECT_THAT(check.extra, IsEmpty());
}

TEST(TargetsTest, SpellsNamesInEachGeneration) {
  EXPECT_EQ(in_generation("model.layers.0.x", NameGeneration::kNested, true),
            "model.language_model.layers.0.x");
  EXPECT_EQ(in_generation("visual.blocks.0.x", NameGeneration::kNested, true),
            "model.visual.blocks.0.x");
  EXPECT_EQ(in_generation("lm_head", NameGeneration::kNested, true), "lm_head");
  EXPECT_EQ(in_generation("model.layers.0.x", NameGeneration::kOld, true),
            "language_model.model.layers.0.x");
  EXPECT_EQ(in_generation("lm_head", NameGeneration::kOld, true), "language_model.lm_head");
  EXPECT_EQ(in_generation("model.layers.0.x", NameGeneration::kNested, false), "model.layers.0.x");
}

}  // namespace
}  // namespace mg
