// Whole lint runs over checkpoints of the architectures that are known by their headers alone
// (tests/model/headers): right ones are quiet, and what is planted is told by one rule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "harness/lint/fix.h"
#include "harness/model/arch.h"
#include "tests/lint/world.h"

namespace mg::lint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// A base and a merged folder of the same recorded checkpoint.
class HeaderWorld {
 public:
  explicit HeaderWorld(const std::string& name) {
    const nlohmann::json file =
        load_json(fs::path(MG_TEST_DATA) / "model" / "headers" / (name + ".json"));
    config = file.at("config");
    for (const auto& [key, shape] : file.at("tensors").items()) {
      tensors[key] = {.dtype = "BF16", .shape = shape.get<Shape>()};
    }
    folder_.write_model("base", config, tensors);
  }

  Options options() const {
    Options options;
    options.base = folder_.path() / "base";
    options.merged = folder_.write_model("merged", config, tensors);
    return options;
  }
  Result lint() const { return run(options()); }

  /// Of merged: to plant a fault in.
  nlohmann::json config;
  ScratchTensors tensors;

 private:
  ScratchFolder folder_;
};

std::vector<std::string> recorded_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(MG_TEST_DATA) / "model" / "headers")) {
    if (entry.path().extension() == ".json") {
      names.push_back(entry.path().stem());
    }
  }
  return names;
}

std::string first_with(const ScratchTensors& tensors, const std::string& part) {
  for (const auto& [name, unused] : tensors) {
    if (name.find(part) != std::string::npos) {
      return name;
    }
  }
  return {};
}

TEST(LintHeaderRows, RightCheckpointsAreQuietWithAndWithoutTheBase) {
  for (const std::string& name : recorded_names()) {
    const HeaderWorld world(name);
    Options options = world.options();
    EXPECT_THAT(rules_above_note(run(options)), IsEmpty()) << name << findings_text(run(options));
    options.base.reset();
    EXPECT_THAT(rules_above_note(run(options)), IsEmpty()) << name << findings_text(run(options));
  }
}

// Each case by the table's knowledge alone: no base is given.
TEST(LintHeaderRows, AnAbsentTensorIsToldByOneRule) {
  struct Absent {
    const char* part;
    const char* rule;
  };
  for (const std::string& name : recorded_names()) {
    for (const Absent& one :
         {Absent{".o_proj.weight", "tensors.missing"},
          Absent{".experts.", "tensors.experts-missing"}, Absent{"lm_head.weight", "head.missing"},
          Absent{"visual.", "tensors.vision"}, Absent{"vision_tower.", "tensors.vision"},
          Absent{"vision_model.", "tensors.vision"}, Absent{"vpm.", "tensors.vision"},
          Absent{"resampler.", "tensors.vision"}}) {
      HeaderWorld world(name);
      const std::string gone = first_with(world.tensors, one.part);
      if (gone.empty() || world.tensors.erase(gone) == 0) {
        continue;
      }
      Options options = world.options();
      options.base.reset();
      const Result result = run(options);
      // The vision part's own o_proj of Llama 4.
      const std::string rule =
          gone.starts_with("vision_model.") ? "tensors.vision" : std::string(one.rule);
      EXPECT_THAT(rules_above_note(result), ElementsAre(rule))
          << name << " without " << gone << "\n"
          << findings_text(result);
    }
  }
}

TEST(LintHeaderRows, AnotherShapeIsTold) {
  for (const std::string& name : recorded_names()) {
    HeaderWorld world(name);
    world.tensors.at(first_with(world.tensors, ".o_proj.weight")).shape.back() += 1;
    const Result result = world.lint();
    EXPECT_THAT(rules_above_note(result), ElementsAre("tensors.shape")) << name << "\n"
                                                                        << findings_text(result);
  }
}

// Sizes alone are read of these configs, so that what they compute is held against the base's keys.
TEST(LintHeaderRows, AnotherComputationIsToldByTheKeysOfTheBase) {
  for (const std::string& name : recorded_names()) {
    HeaderWorld world(name);
    nlohmann::json& text =
        world.config.contains("text_config") ? world.config["text_config"] : world.config;
    if (!text.contains("rms_norm_eps")) {
      continue;  // then another file's silence proves nothing
    }
    text["rms_norm_eps"] = 0.5;
    const Result result = world.lint();
    EXPECT_THAT(rules_above_note(result), ElementsAre("config.arithmetic-differs"))
        << name << "\n"
        << findings_text(result);
  }
}

TEST(LintHeaderRows, TheLayerThatPredictsFurtherIsCopiedBack) {
  HeaderWorld world("deepseek_v3");
  world.config["num_nextn_predict_layers"] = 1;
  Options options = world.options();
  ScratchTensors more = world.tensors;
  more["model.layers.3.eh_proj.weight"] = {.dtype = "BF16", .shape = {48, 96}};
  ScratchFolder other;
  options.base = other.write_model("base", world.config, more);
  const Context context = open_context(options);
  const Result result = run(context, options);
  EXPECT_THAT(rules_above_note(result), ElementsAre("tensors.auxiliary-dropped"))
      << findings_text(result);
  apply_fix(context, plan_fix(context, result), "0.0.0", "");
  EXPECT_THAT(rules_above_note(run(options)), IsEmpty()) << findings_text(run(options));
}

// transformers 5 leaves out SigLIP's inner level; the Hub's file and servers have it (F15).
TEST(LintHeaderRows, NamesThatTheBaseSpellsOtherwiseAreRestored) {
  HeaderWorld world("gemma3");
  Options options = world.options();
  ScratchTensors hub;
  for (const auto& [name, tensor] : world.tensors) {
    const bool tower = name.starts_with("vision_tower.");
    hub[tower ? "vision_tower.vision_model." + name.substr(13) : name] = tensor;
  }
  ScratchFolder other;
  options.base = other.write_model("base", world.config, hub);
  const Context context = open_context(options);
  const Result result = run(context, options);
  EXPECT_THAT(rules_above_note(result), ElementsAre("names.other-generation"))
      << findings_text(result);
  apply_fix(context, plan_fix(context, result), "0.0.0", "");
  EXPECT_THAT(rules_above_note(run(options)), IsEmpty()) << findings_text(run(options));
  EXPECT_EQ(read_header(options.merged / "model.safetensors").size(), hub.size());
  EXPECT_TRUE(read_header(options.merged / "model.safetensors")
                  .contains("vision_tower.vision_model.post_layernorm.weight"));
}

}  // namespace
}  // namespace mg::lint
