#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/cli/subprocess.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

const fs::path kData = MG_TEST_DATA;

std::string golden(const std::string& path) {
  return (kData / "golden" / path).string();
}

json inspect_json(const std::vector<std::string>& arguments) {
  std::vector<std::string> full = {"inspect"};
  full.insert(full.end(), arguments.begin(), arguments.end());
  full.insert(full.end(), {"--json", "-"});
  const RunResult result = run_mergegauge(full);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return json::parse(result.out);
}

TEST(InspectTest, ShowsACheckpointOnOneScreen) {
  const RunResult result = run_mergegauge({"inspect", golden("qwen2/base")});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_EQ(result.out,
            "Qwen2ForCausalLM, 143.2K parameters, F16, complete\n"
            "  folder      " +
                golden("qwen2/base") +
                "\n"
                "  weights     39 tensors in 1 file, 286.3 kB\n"
                "  dtypes      F16 39 tensors (286.3 kB)\n"
                "  layers      3 layers of hidden 64, MLP 112, 4 heads of 16 (2 key/value), "
                "vocabulary 320\n"
                "  positions   rope theta 1000000, context 256\n"
                "  head        its own\n"
                "  tokenizer   none\n");
}

TEST(InspectTest, ShowsAnAdapterOnOneScreen) {
  const RunResult result = run_mergegauge({"inspect", golden("qwen2-modules-to-save/adapter")});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(
      result.out,
      StartsWith(
          "LoRA adapter, rank 8, scale 2, 9 modules in 3 of 3 layers (seen), F16, complete\n"));
  EXPECT_THAT(result.out, HasSubstr("  targets     down_proj x3, q_proj x3, v_proj x3\n"));
  EXPECT_THAT(result.out, HasSubstr("  replaces    lm_head.weight, model.embed_tokens.weight\n"));
  EXPECT_THAT(result.out, HasSubstr("  base        golden/qwen2-modules-to-save\n"));
  EXPECT_THAT(result.out, HasSubstr("  peft        0.21.2\n"));
}

// What each golden is, in the words a person reads first.
TEST(InspectTest, EveryModelOfTheTreeIsComplete) {
  std::size_t models = 0;
  std::size_t adapters = 0;
  for (const fs::path& root : {kData / "golden", kData / "demo", kData / "smollm2"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      const std::string name = entry.path().filename();
      const bool model = name == "model.safetensors";
      if (!model && name != "adapter_model.safetensors") {
        continue;
      }
      (model ? models : adapters) += 1;
      const RunResult result = run_mergegauge({"inspect", entry.path().parent_path().string()});
      EXPECT_EQ(result.exit_code, 0) << entry.path();
      const std::string verdict = result.out.substr(0, result.out.find('\n'));
      // bitsandbytes merges into a dequantised base keep quantization_config, as exporters in the
      // field do (F01).
      const std::string folder = entry.path().parent_path().string();
      const bool leftover = folder.find("qwen2-nf4/merged") != std::string::npos ||
                            folder.find("qwen2-fp4/merged") != std::string::npos ||
                            folder.find("qwen2-int8/merged") != std::string::npos;
      const bool declares =
          leftover &&
          load_json(entry.path().parent_path() / "config.json").contains("quantization_config");
      EXPECT_THAT(verdict, testing::EndsWith(declares ? ", 1 problem" : ", complete")) << folder;
      EXPECT_LE(std::count(result.out.begin(), result.out.end(), '\n'), 24) << folder;
    }
  }
  EXPECT_GE(models, 41U);
  EXPECT_GE(adapters, 20U);
}

TEST(InspectTest, ListsWhatIsMissingAndWhatIsTooMuch) {
  const ScratchFolder folder;
  const fs::path source = kData / "golden" / "qwen2" / "base";
  ScratchTensors tensors = read_header(source / "model.safetensors");
  tensors.erase("model.layers.1.mlp.up_proj.weight");
  tensors["model.layers.0.surprise.weight"] = {.shape = {2, 2}};
  tensors["model.norm.weight"].shape = {32};
  const RunResult result = run_mergegauge(
      {"inspect",
       folder.write_model("broken", load_json(source / "config.json"), tensors).string()});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, StartsWith("Qwen2ForCausalLM, "));
  EXPECT_THAT(result.out, HasSubstr(", 3 problems\n"));
  EXPECT_THAT(result.out, HasSubstr("model.layers.1.mlp.up_proj.weight [112, 64] is missing\n"));
  EXPECT_THAT(result.out, HasSubstr("model.norm.weight is [32], config.json asks for [64]\n"));
  EXPECT_THAT(
      result.out,
      HasSubstr("model.layers.0.surprise.weight [2, 2] belongs to nothing in this architecture\n"));
}

TEST(InspectTest, DescribesAnArchitectureItDoesNotKnow) {
  const ScratchFolder folder;
  const fs::path model = folder.write_model(
      "novel", {{"model_type", "novel"}, {"architectures", {"NovelForCausalLM"}}},
      {{"a.weight", {.shape = {20, 600}}}});
  const RunResult result = run_mergegauge({"inspect", model.string()});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, StartsWith("NovelForCausalLM, 12.0K parameters, F32, 1 problem\n"));
  EXPECT_THAT(result.out, HasSubstr("this architecture is not known"));
}

TEST(InspectTest, CountsWhatQuantisedWeightsStandFor) {
  const json plain = inspect_json({golden("qwen2/base")})["checkpoint"];
  for (const std::string kind : {"nf4", "fp4", "int8"}) {
    const json packed = inspect_json({golden("qwen2-" + kind + "/base")})["checkpoint"];
    EXPECT_EQ(packed["parameters"], plain["parameters"]) << kind;
    EXPECT_EQ(packed["quantised_weights"], 21) << kind;
    EXPECT_LT(packed["bytes"], plain["bytes"]) << kind;
  }
}

TEST(InspectTest, SaysWhichCodesAFolderHolds) {
  const auto codes = [](const std::string& name) {
    return inspect_json(
        {(fs::path(MG_TEST_DATA) / "io/quantised/cases" / name).string()})["checkpoint"]["codes"];
  };
  const auto one = [](const char* format) {
    return json::array({{{"format", format}, {"weights", 14}}});
  };
  EXPECT_EQ(codes("gptq"), one("GPTQ-4 (groups of 16, columns ordered)"));
  EXPECT_EQ(codes("awq"), one("AWQ-4 (groups of 16)"));
  EXPECT_EQ(codes("fp8"), one("FP8 (blocks of 16 x 16)"));
  EXPECT_EQ(inspect_json({golden("qwen2/base")})["checkpoint"]["codes"], json::array());
}

TEST(InspectTest, DescribesAnAdapterInAGgufFile) {
  const std::string file =
      (fs::path(MG_TEST_DATA) / "io/gguf/adapters/llama-embed-lora.gguf").string();
  const json all = inspect_json({file, "--base", golden("llama-embed-lora/base")});
  EXPECT_TRUE(all["checkpoint"].is_null());
  const json& adapter = all["adapter"];
  EXPECT_EQ(adapter["modules"], 23);
  EXPECT_EQ(adapter["ranks"], json::array({8}));
  EXPECT_EQ(adapter["scales"], json::array({2.0}));
  EXPECT_EQ(adapter["problems"], json::array());
}

TEST(InspectTest, WritesJson) {
  const json all = inspect_json({golden("gemma3/base")});
  EXPECT_EQ(all["schema"], "mergegauge.inspect/1");
  EXPECT_TRUE(all["adapter"].is_null());
  const json& model = all["checkpoint"];
  EXPECT_EQ(model["architecture"], "Gemma3ForCausalLM");
  EXPECT_EQ(model["head"], "tied");
  EXPECT_EQ(model["config"]["sliding_windows"], json::array({8, 8, 0}));
  EXPECT_EQ(model["config"]["ropes"].size(), 2U);
  EXPECT_THAT(model["problems"].get<std::vector<std::string>>(), IsEmpty());

  const json adapter = inspect_json({golden("qwen2-patterns/adapter")})["adapter"];
  EXPECT_THAT(adapter["ranks"].get<std::vector<int>>(), ElementsAre(4, 8, 16));
  EXPECT_EQ(adapter["modules"], 21);
  EXPECT_EQ(adapter["layers"], 3);
}

TEST(InspectTest, WritesJsonToAFileAndTextToTheScreen) {
  const ScratchFolder folder;
  const fs::path file = folder.path() / "facts.json";
  const RunResult result =
      run_mergegauge({"inspect", golden("qwen2/base"), "--json", file.string()});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, StartsWith("Qwen2ForCausalLM"));
  EXPECT_EQ(load_json(file)["checkpoint"]["tensors"], 39);
}

TEST(InspectTest, AFileThatCannotBeWrittenIsNamed) {
  const std::string file = "/proc/mergegauge/facts.json";
  const RunResult result = run_mergegauge({"inspect", golden("qwen2/base"), "--json", file});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, StartsWith("error[output.cannot-write]: "));
  EXPECT_THAT(result.err, HasSubstr(file));
}

TEST(InspectTest, AttachesAnAdapterToItsBase) {
  const RunResult good =
      run_mergegauge({"inspect", golden("qwen2-vl/adapter"), "--base", golden("qwen2-vl/base")});
  EXPECT_EQ(good.exit_code, 0);
  EXPECT_THAT(
      good.out,
      StartsWith("LoRA adapter, rank 8, scale 2, 29 modules in 3 of 3 layers, F16, complete\n"));
  const json wrong =
      inspect_json({golden("qwen3/adapter"), "--base", golden("qwen2/base")})["adapter"];
  EXPECT_THAT(
      wrong["problems"].get<std::vector<std::string>>(),
      testing::Contains(HasSubstr("do not fit model.layers.0.self_attn.q_proj.weight [64, 64]")));
}

TEST(InspectTest, WhatCannotBeReadIsAnError) {
  for (const std::string& folder :
       {kData.string() + "/no-such-folder", std::string("meta-llama/Llama-3.2-1B"),
        (kData / "golden").string()}) {
    const RunResult result = run_mergegauge({"inspect", folder});
    EXPECT_EQ(result.exit_code, 2) << folder;
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, StartsWith("error["));
    EXPECT_THAT(result.err, HasSubstr(folder));
  }
}

TEST(InspectTest, AnAdapterBesideTheWeightsIsAProblem) {
  const ScratchFolder folder;
  for (const std::string part : {"base", "adapter"}) {
    fs::copy(golden("qwen2/" + part), folder.path() / "both", fs::copy_options::recursive);
  }
  const RunResult result = run_mergegauge({"inspect", (folder.path() / "both").string()});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out,
              HasSubstr("an adapter lies beside the weights: loaders attach it again (F17)\n"));
  EXPECT_THAT(result.out, HasSubstr("LoRA adapter, rank 8"));
}

}  // namespace
}  // namespace mg
