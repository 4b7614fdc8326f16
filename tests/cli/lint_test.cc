// mergegauge lint as a user runs it: the case the project began with, repairs, exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/cli/subprocess.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string text_of(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

/// base/, adapter/ and merged/ of a case of the test data, to plant faults in.
class Triple {
 public:
  explicit Triple(const std::string& source) {
    for (const char* part : {"base", "adapter", "merged"}) {
      fs::copy(fs::path(MG_TEST_DATA) / source / part, folder_.path() / part,
               fs::copy_options::recursive);
      for (const auto& entry : fs::recursive_directory_iterator(folder_.path() / part)) {
        fs::permissions(entry.path(), fs::perms::owner_write, fs::perm_options::add);
      }
    }
  }
  fs::path merged() const { return folder_.path() / "merged"; }
  std::string path(const char* part) const { return (folder_.path() / part).string(); }

  void edit_config(const std::function<void(nlohmann::json&)>& change) const {
    nlohmann::json config = load_json(merged() / "config.json");
    change(config);
    std::ofstream(merged() / "config.json") << config.dump(2);
  }
  RunResult lint(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"lint", path("merged")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_mergegauge(arguments);
  }

 private:
  ScratchFolder folder_;
};

const nlohmann::json kLeftover = {{"_load_in_4bit", true},
                                  {"bnb_4bit_compute_dtype", "bfloat16"},
                                  {"bnb_4bit_quant_type", "nf4"},
                                  {"load_in_4bit", true},
                                  {"quant_method", "bitsandbytes"}};

/// Every file of a folder, by name.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      all[fs::relative(entry.path(), folder).string()] = text_of(entry.path());
    }
  }
  return all;
}

// Qwen2-VL merged in 16 bits, whose config kept the quantisation of the base at every depth.
TEST(LintProgram, TheSeedCaseFromFailureToPass) {
  const Triple triple("golden/qwen2-vl");
  const std::string sound = text_of(triple.merged() / "config.json");
  const nlohmann::json sound_config = nlohmann::json::parse(sound);
  triple.edit_config([](nlohmann::json& config) {
    config["quantization_config"] = kLeftover;
    config["text_config"]["quantization_config"] = kLeftover;
    config["vision_config"]["quantization_config"] = kLeftover;
  });
  const std::string weights = text_of(triple.merged() / "model.safetensors");

  const RunResult before = triple.lint();
  EXPECT_EQ(before.exit_code, 1) << before.out << before.err;
  EXPECT_THAT(before.out,
              AllOf(HasSubstr("FAIL  it will not load, or not mean what it should (3 errors, "),
                    HasSubstr("error[config.leftover-quantization] F01: "),
                    HasSubstr("error[config.leftover-quantization-nested] F02: "),
                    HasSubstr("config.json: quantization_config\n"),
                    HasSubstr("config.json: text_config.quantization_config\n"),
                    HasSubstr("config.json: vision_config.quantization_config\n")));
  EXPECT_THAT(before.out,
              AllOf(HasSubstr("Could not find the bitsandbytes CUDA binary"),
                    HasSubstr("Unexpected weight: model.layers.0.mlp.down_proj.weight")));

  const auto planted = contents(triple.merged());
  const RunResult shown = triple.lint({"--fix", "--dry-run"});
  EXPECT_EQ(shown.exit_code, 1);
  EXPECT_THAT(shown.out,
              AllOf(HasSubstr("--- config.json"), HasSubstr("-  \"quantization_config\"")));
  EXPECT_EQ(contents(triple.merged()), planted);

  const RunResult repaired = triple.lint({"--fix"});
  EXPECT_EQ(repaired.exit_code, 0) << repaired.out << repaired.err;
  EXPECT_THAT(repaired.out, HasSubstr("PASS  nothing here keeps it from loading as it should"));
  EXPECT_EQ(load_json(triple.merged() / "config.json"), sound_config);
  EXPECT_TRUE(text_of(triple.merged() / "model.safetensors") == weights);
  EXPECT_TRUE(load_json(triple.merged() / "config.json.bak").contains("quantization_config"));
  const nlohmann::json record = load_json(triple.merged() / "mergegauge-provenance.json");
  EXPECT_EQ(record["repairs"].size(), 1U);

  const auto after = contents(triple.merged());
  EXPECT_EQ(triple.lint({"--fix"}).exit_code, 0);
  EXPECT_EQ(contents(triple.merged()), after) << "a second run changed something";

  const RunResult check =
      run_mergegauge({"check", "--base", triple.path("base"), "--adapter", triple.path("adapter"),
                      "--merged", triple.path("merged"), "--out", triple.path("report")});
  EXPECT_EQ(check.exit_code, 0) << check.out << check.err;
}

TEST(LintProgram, ALeftoverKeyAtOneDepthIsThatIdAlone) {
  struct Depth {
    std::vector<const char*> path;
    const char* id;
    const char* other;
  };
  for (const Depth& depth :
       {Depth{{"quantization_config"}, "] F01: ", "] F02: "},
        Depth{{"text_config", "quantization_config"}, "] F02: ", "] F01: "},
        Depth{{"vision_config", "quantization_config"}, "] F02: ", "] F01: "}}) {
    const Triple triple("golden/qwen2-vl");
    triple.edit_config([&](nlohmann::json& config) {
      nlohmann::json* at = &config;
      for (const char* key : depth.path) {
        at = &(*at)[key];
      }
      *at = kLeftover;
    });
    const RunResult found = triple.lint();
    EXPECT_EQ(found.exit_code, 1);
    EXPECT_THAT(found.out,
                AllOf(HasSubstr("(1 error, "), HasSubstr(depth.id), Not(HasSubstr(depth.other))));
    EXPECT_EQ(triple.lint({"--fix"}).exit_code, 0);
  }
}

TEST(LintProgram, ExitCodesAreThoseOfTheContract) {
  const Triple triple("golden/qwen2");
  EXPECT_EQ(triple.lint().exit_code, 0);
  std::ofstream(triple.merged() / "config.json") << "{\n  \"model_type\": \"qwen2\",\n}";
  const RunResult unreadable = triple.lint();
  EXPECT_EQ(unreadable.exit_code, 2);
  EXPECT_THAT(unreadable.out, AllOf(HasSubstr("ERROR  the files cannot all be read"),
                                    HasSubstr("line 3, column 1")));
  EXPECT_EQ(run_mergegauge({"lint", triple.path("nowhere")}).exit_code, 2);
  EXPECT_EQ(run_mergegauge({"lint", triple.path("base"), "--server", "triton"}).exit_code, 2);
}

TEST(LintProgram, BadInputIsNamedAndNeverFollowed) {
  struct Bad {
    const char* what;
    std::function<void(const fs::path& merged)> plant;
    const char* says;
  };
  const std::vector<Bad> all = {
      {"a header of 4 GB",
       [](const fs::path& m) {
         std::fstream file(m / "model.safetensors",
                           std::ios::in | std::ios::out | std::ios::binary);
         file.write("\xff\xff\xff\xff\0\0\0\0", 8);
       },
       "4294967295"},
      {"an index out of the folder",
       [](const fs::path& m) {
         std::ofstream(m / "model.safetensors.index.json")
             << R"({"weight_map": {"a": "../base/model.safetensors"}})";
       },
       "../base/model.safetensors"},
      {"an absolute path",
       [](const fs::path& m) {
         std::ofstream(m / "model.safetensors.index.json")
             << R"({"weight_map": {"a": "/etc/passwd"}})";
       },
       "/etc/passwd"},
      {"an index that names itself",
       [](const fs::path& m) {
         std::ofstream(m / "model.safetensors.index.json")
             << R"({"weight_map": {"a": "model.safetensors.index.json"}})";
       },
       "model.safetensors.index.json"},
      {"a link to itself",
       [](const fs::path& m) {
         fs::remove(m / "model.safetensors");
         fs::create_symlink("model.safetensors", m / "model.safetensors");
       },
       "model.safetensors"},
      {"an empty folder",
       [](const fs::path& m) {
         fs::remove_all(m);
         fs::create_directory(m);
       },
       "config.json"},
      {"GGUF",
       [](const fs::path& m) {
         fs::remove(m / "model.safetensors");
         std::ofstream(m / "model-Q4_K_M.gguf") << "GGUF";
       },
       "model-Q4_K_M.gguf"},
      {"a pickle",
       [](const fs::path& m) {
         fs::remove(m / "model.safetensors");
         std::ofstream(m / "pytorch_model.bin") << "PK";
       },
       "pytorch_model.bin"},
  };
  for (const Bad& bad : all) {
    const Triple triple("golden/qwen2");
    bad.plant(triple.merged());
    const RunResult result = triple.lint();
    EXPECT_EQ(result.exit_code, 2) << bad.what << "\n" << result.out << result.err;
    EXPECT_THAT(result.out + result.err, HasSubstr(bad.says)) << bad.what;
    EXPECT_THAT(result.out + result.err, Not(HasSubstr("root:"))) << bad.what;
  }
}

// The layout of the Hub's cache: every file a link to a blob beside the snapshots.
TEST(LintProgram, FollowsTheLinksOfTheHubsCache) {
  const Triple triple("golden/qwen2");
  const fs::path blobs = triple.merged().parent_path() / "blobs";
  fs::create_directory(blobs);
  for (const auto& entry : fs::directory_iterator(fs::path(MG_TEST_DATA) / "golden/qwen2/merged")) {
    const std::string name = entry.path().filename();
    fs::rename(triple.merged() / name, blobs / name);
    fs::create_symlink("../blobs/" + name, triple.merged() / name);
  }
  EXPECT_EQ(triple.lint().exit_code, 0);
  triple.edit_config([](nlohmann::json& config) { config["quantization_config"] = kLeftover; });
  const std::string blob = text_of(blobs / "config.json");
  EXPECT_EQ(triple.lint().exit_code, 1);
  EXPECT_EQ(triple.lint({"--fix"}).exit_code, 0);
  EXPECT_EQ(text_of(blobs / "config.json"), blob) << "another snapshot may link to the blob";
}

TEST(LintProgram, WritesTheReportAsJson) {
  const Triple triple("golden/qwen2");
  triple.edit_config([](nlohmann::json& config) { config["quantization_config"] = kLeftover; });
  const RunResult result = triple.lint({"--json", "-"});
  EXPECT_EQ(result.exit_code, 1);
  const nlohmann::json report = nlohmann::json::parse(result.out);
  EXPECT_EQ(report["status"], "fail");
  EXPECT_EQ(report["findings"][0]["rule"], "config.leftover-quantization");
  EXPECT_EQ(report["findings"][0]["catalogue"], nlohmann::json::array({"F01"}));
}

// Lint and the prompts both judge templates and tokenizers; in a check a fault is told once.
TEST(LintProgram, ACheckTellsAFaultOnce) {
  struct Fault {
    std::function<void(const fs::path& merged)> plant;
    std::vector<std::string> catalogue;  // ids that tell it
  };
  const std::vector<Fault> faults = {
      {[](const fs::path& m) { fs::remove(m / "chat_template.jinja"); }, {"F43"}},
      {[](const fs::path& m) {
         const std::string text = text_of(m / "chat_template.jinja");
         std::ofstream(m / "chat_template.jinja") << "Be brief. " << text;
       },
       {"F43"}},
      {[](const fs::path& m) { fs::remove(m / "tokenizer.json"); }, {"F41"}},
      {[](const fs::path& m) {
         nlohmann::json tokenizer = load_json(m / "tokenizer.json");
         tokenizer["model"]["merges"].erase(tokenizer["model"]["merges"].begin());
         std::ofstream(m / "tokenizer.json") << tokenizer;
       },
       {"F41", "F57"}},
  };
  for (const Fault& fault : faults) {
    const Triple triple("demo");
    fault.plant(triple.merged());
    const RunResult result = run_mergegauge(
        {"check", "--base", triple.path("base"), "--adapter", triple.path("adapter"), "--merged",
         triple.path("merged"), "--suite", "chat", "--tokens", "400", "--forced-tokens", "0",
         "--floor-tokens", "200", "--no-digests", "--out", triple.path("report")});
    const nlohmann::json report = load_json(fs::path(triple.path("report")) / "report.json");
    int told = 0;
    for (const nlohmann::json& finding : report["findings"]) {
      for (const std::string& id : fault.catalogue) {
        told += finding["severity"] != "note" && finding["catalogue"] == nlohmann::json{id} ? 1 : 0;
      }
    }
    EXPECT_EQ(told, 1) << report["findings"].dump(1) << result.err;
  }
}

// Known by its headers alone: lint and audit judge it, and the rest is said to be unchecked.
TEST(LintProgram, ACheckWithoutAForwardPassSaysWhatItLeavesOut) {
  const nlohmann::json recorded =
      load_json(fs::path(MG_TEST_DATA) / "model" / "headers" / "qwen3_vl.json");
  ScratchTensors tensors;
  for (const auto& [name, shape] : recorded["tensors"].items()) {
    tensors[name] = {.dtype = "BF16", .shape = shape.get<Shape>()};
  }
  const ScratchFolder folder;
  const std::string base = folder.write_model("base", recorded["config"], tensors).string();
  const std::string merged = folder.write_model("merged", recorded["config"], tensors).string();
  const std::string adapter =
      folder
          .write_adapter(
              "adapter",
              {{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}, {"target_modules", {"up_proj"}}},
              {{"base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", {"F32", {2, 48}}},
               {"base_model.model.model.layers.0.mlp.up_proj.lora_B.weight", {"F32", {80, 2}}}})
          .string();
  const std::string out = (folder.path() / "report").string();
  const RunResult check = run_mergegauge(
      {"check", "--base", base, "--adapter", adapter, "--merged", merged, "--out", out});
  const nlohmann::json report = load_json(fs::path(out) / "report.json");
  EXPECT_TRUE(report["audit"].is_object()) << check.out << check.err;
  EXPECT_THAT(report["not_checked"].dump(),
              HasSubstr("outputs: this architecture's tensors are known, and its computation is "
                        "not (known: one of gemma2, "));
  const RunResult compare =
      run_mergegauge({"compare", "--base", base, "--adapter", adapter, "--merged", merged});
  EXPECT_EQ(compare.exit_code, 2);
  EXPECT_THAT(compare.out + compare.err, HasSubstr("model.no-forward"));
}

}  // namespace
}  // namespace mg
