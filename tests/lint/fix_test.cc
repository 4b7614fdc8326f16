// Repairs: what they leave behind, that they change nothing twice, and that a folder survives being
// killed in the middle.
#include "harness/lint/fix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "harness/io/checkpoint.h"
#include "harness/io/digest.h"
#include "kernels/core/error.h"
#include "tests/lint/cases.h"

namespace mg::lint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kVersion = "0.0.0";

/// Repairs until nothing is left to repair; the number of rounds that changed something.
int fix(const Options& options) {
  for (int rounds = 0;; ++rounds) {
    const Context context = open_context(options);
    const FixPlan plan = plan_fix(context, run(context, options));
    if (plan.edits.empty() || rounds == 5) {
      return rounds;
    }
    apply_fix(context, plan, kVersion, "mergegauge lint --fix");
  }
}

std::map<std::string, std::string> digests(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      all[entry.path().string()] = digest_file(entry.path()).sha256;
    }
  }
  return all;
}

class Repair : public ::testing::TestWithParam<Case> {};

TEST_P(Repair, LeavesNothingAboveANoteAndChangesNothingTwice) {
  World world(GetParam().source);
  GetParam().plant(world);
  Options options = world.options();
  options.server = GetParam().server;
  EXPECT_GE(fix(options), 1);
  const Result after = run(options);
  EXPECT_THAT(rules_above_note(after), IsEmpty()) << findings_text(after);
  const auto before = digests(world.path("."));
  EXPECT_EQ(fix(options), 0);
  EXPECT_EQ(digests(world.path(".")), before);
  EXPECT_NO_THROW(Checkpoint::open(world.merged()));
  const nlohmann::json record = load_json(world.merged() / kProvenanceFile);
  EXPECT_EQ(record["schema"], "mergegauge.provenance/1");
  EXPECT_EQ(record["repairs"][0]["rules"], nlohmann::json::array({GetParam().rule}));
  EXPECT_TRUE(record["repairs"][0]["complete"].get<bool>());
}

std::vector<Case> repairable_cases() {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& one) { return !one.repairable; });
  return cases;
}

std::string test_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.rule + "_" + info.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Lint, Repair, ::testing::ValuesIn(repairable_cases()), test_name);

/// The bytes of every tensor, by name.
std::map<std::string, std::string> tensor_bytes(const fs::path& file) {
  std::map<std::string, std::string> bytes;
  for (const auto& [name, tensor] : TensorFile::read(file).tensors) {
    bytes[name] = tensor.dtype + to_string(tensor.shape) + tensor.bytes;
  }
  return bytes;
}

TEST(SeedCase, LeftoverKeysAtEachDepthAreNamedAndRepaired) {
  World world("golden/qwen2-vl");
  const nlohmann::json key = {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}};
  const auto nest = [&](nlohmann::json& c, bool leftover) {
    nlohmann::json text;
    for (const char* name :
         {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
          "num_key_value_heads", "rms_norm_eps", "rope_theta", "rope_scaling", "vocab_size",
          "max_position_embeddings", "hidden_act", "layer_types", "sliding_window",
          "use_sliding_window", "max_window_layers"}) {
      if (c.contains(name)) {
        text[name] = c[name];
        c.erase(name);
      }
    }
    c["text_config"] = text;
    if (leftover) {
      c["quantization_config"] = key;
      c["text_config"]["quantization_config"] = key;
      c["vision_config"]["quantization_config"] = key;
    }
  };
  world.edit("merged/config.json", [&](nlohmann::json& c) { nest(c, true); });
  world.edit("base/config.json", [&](nlohmann::json& c) { nest(c, false); });
  const Result before = world.lint();
  EXPECT_THAT(rules_above_note(before),
              ElementsAre("config.leftover-quantization", "config.leftover-quantization-nested"))
      << findings_text(before);
  EXPECT_THAT(findings_text(before), ::testing::HasSubstr("Unexpected weight: "));
  EXPECT_THAT(findings_text(before),
              ::testing::HasSubstr("Could not find the bitsandbytes CUDA binary"));
  const auto weights = tensor_bytes(world.merged() / "model.safetensors");
  EXPECT_EQ(fix(world.options()), 1);
  EXPECT_THAT(rules_above_note(world.lint()), IsEmpty());
  EXPECT_EQ(tensor_bytes(world.merged() / "model.safetensors"), weights);
  EXPECT_TRUE(load_json(world.merged() / "config.json.bak").contains("quantization_config"));
}

// The flat layout of the Hub's Qwen2-VL, into which an exporter wrote a text_config for the key.
TEST(SeedCase, AnObjectMadeForTheKeyAloneGoesWithIt) {
  World world("golden/qwen2-vl");
  const nlohmann::json original = load_json(world.merged() / "config.json");
  const nlohmann::json key = {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}};
  world.edit("merged/config.json", [&](nlohmann::json& c) {
    c["quantization_config"] = key;
    c["text_config"]["quantization_config"] = key;
    c["vision_config"]["quantization_config"] = key;
  });
  for (const bool with_base : {true, false}) {
    Options options = world.options();
    if (!with_base) {
      options.base.reset();
      options.adapter.reset();
    }
    const Result before = run(options);
    EXPECT_THAT(rules_above_note(before),
                ElementsAre("config.leftover-quantization", "config.leftover-quantization-nested"))
        << findings_text(before);
  }
  EXPECT_EQ(fix(world.options()), 1);
  EXPECT_THAT(rules_above_note(world.lint()), IsEmpty());
  EXPECT_EQ(load_json(world.merged() / "config.json"), original);
}

TEST(Fix, KeepsEveryByteOfTheConfigThatItDoesNotEdit) {
  World world("golden/qwen2");
  const std::string original =
      "{\n  \"architectures\": [\"Qwen2ForCausalLM\"],\n\t\"odd\" :  [ 1,2.50 ],\n"
      "  \"quantization_config\": {\"quant_method\": \"awq\"}\n}\n";
  world.write("merged/config.json", original);
  Options options;
  options.merged = world.merged();
  const Context context = open_context(options);
  FixPlan plan;
  plan.edits = {set_key("config.json", {"quantization_config"}, std::nullopt)};
  apply_fix(context, plan, kVersion, "");
  EXPECT_EQ(world.text("merged/config.json"),
            "{\n  \"architectures\": [\"Qwen2ForCausalLM\"],\n\t\"odd\" :  [ 1,2.50 ]\n}\n");
  EXPECT_EQ(world.text("merged/config.json.bak"), original);
}

TEST(Fix, ADryRunShowsADiffAndChangesNothing) {
  World world("golden/qwen2");
  world.edit("merged/config.json", [](nlohmann::json& c) { c["use_cache"] = false; });
  const auto before = digests(world.path("."));
  const Context context = open_context(world.options());
  const FixPlan plan = plan_fix(context, run(context, world.options()));
  ASSERT_EQ(plan.changes.size(), 1U);
  EXPECT_THAT(plan.changes[0].diff, ::testing::HasSubstr("-  \"use_cache\": false,\n"
                                                         "+  \"use_cache\": true,\n"));
  EXPECT_EQ(digests(world.path(".")), before);
}

TEST(Fix, ShardedRenamesKeepTheBytes) {
  World world("golden/qwen2");
  const auto original = tensor_bytes(world.merged() / "model.safetensors");
  world.edit_tensors([](TensorFile& f) {
    f.rename_all([](const std::string& name) { return "module." + name; });
  });
  world.shard(3);
  EXPECT_EQ(fix(world.options()), 1);
  const Result after = world.lint();
  EXPECT_THAT(rules_above_note(after), IsEmpty()) << findings_text(after);
  std::map<std::string, std::string> repaired;
  for (const auto& entry : fs::directory_iterator(world.merged())) {
    if (entry.path().extension() == ".safetensors") {
      repaired.merge(tensor_bytes(entry.path()));
    }
  }
  EXPECT_EQ(repaired, original);
}

TEST(Fix, WithoutPermissionSaysSoAndChangesNothing) {
  if (::geteuid() == 0) {
    GTEST_SKIP() << "root writes wherever it likes";
  }
  World world("golden/qwen2");
  world.edit("merged/config.json", [](nlohmann::json& c) { c["use_cache"] = false; });
  fs::permissions(world.merged(), fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THROW(fix(world.options()), Error);
  fs::permissions(world.merged(), fs::perms::owner_all);
}

/// Whether a loader gets a whole model: the old names or the new ones, and the right bytes.
void expect_usable(const World& world, const std::map<std::string, std::string>& original) {
  const Checkpoint checkpoint = Checkpoint::open(world.merged());
  EXPECT_EQ(checkpoint.tensors().size(), original.size());
  const bool wrapped = checkpoint.tensors().front().name.starts_with("module.");
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    EXPECT_EQ(tensor.name.starts_with("module."), wrapped) << "old and new names in one model";
    const std::string name = wrapped ? tensor.name.substr(7) : tensor.name;
    const std::string bytes(reinterpret_cast<const char*>(tensor.view.data), tensor.view.bytes);
    EXPECT_TRUE(original.at(name).ends_with(bytes)) << name;
  }
}

// Killed at growing delays, from before the first edit to after the last.
TEST(Fix, KilledAtAnyPointTheFolderIsTheOldOrTheNewModel) {
  for (const int shards : {0, 3}) {
    World world("golden/qwen2");
    const auto original = tensor_bytes(world.merged() / "model.safetensors");
    world.edit_tensors([](TensorFile& f) {
      f.rename_all([](const std::string& name) { return "module." + name; });
    });
    world.edit("merged/config.json", [](nlohmann::json& c) { c["use_cache"] = false; });
    if (shards > 0) {
      world.shard(shards);
    }
    bool finished = false;
    for (int attempt = 0; attempt < 60 && !finished; ++attempt) {
      const pid_t child = ::fork();
      if (child == 0) {
        int left = 1;
        try {
          fix(world.options());
          left = 0;
        } catch (...) {
        }
        ::_exit(left);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(attempt * 500));
      ::kill(child, SIGKILL);
      int status = 0;
      ::waitpid(child, &status, 0);
      finished = WIFEXITED(status) && WEXITSTATUS(status) == 0;
      EXPECT_TRUE(finished || WIFSIGNALED(status)) << "the repair failed by itself";
      expect_usable(world, original);
      if (::testing::Test::HasFailure()) {
        return;
      }
    }
    fix(world.options());  // whatever was left over
    const Result after = world.lint();
    EXPECT_THAT(rules_above_note(after), IsEmpty()) << findings_text(after);
    expect_usable(world, original);
  }
}

}  // namespace
}  // namespace mg::lint
