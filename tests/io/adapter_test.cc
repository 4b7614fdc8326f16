#include "harness/io/adapter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "harness/io/adapter_config.h"
#include "harness/io/adapter_match.h"
#include "harness/io/json_file.h"
#include "tests/io/temp_folder.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

// Keys stay in the file's order: rank_pattern depends on it.
std::vector<json> read_lines(const std::string& name) {
  std::ifstream file(std::string(MG_TEST_DATA "/io/") + name);
  std::vector<json> lines;
  for (std::string text; std::getline(file, text);) {
    lines.push_back(json::parse(text));
  }
  return lines;
}

AdapterConfig config_of(const std::string& text) {
  return parse_adapter_config(parse_ordered_json(text, "adapter_config.json"),
                              "adapter_config.json");
}

TEST(Adapter, OpensEveryFolderOfTheTestData) {
  int opened = 0;
  for (const char* root : {"/golden", "/demo", "/smollm2"}) {
    for (const auto& entry : fs::recursive_directory_iterator(std::string(MG_TEST_DATA) + root)) {
      if (entry.path().filename() != "adapter_config.json") {
        continue;
      }
      SCOPED_TRACE(entry.path());
      const Adapter adapter = Adapter::open(entry.path().parent_path());
      EXPECT_FALSE(adapter.modules().empty());
      EXPECT_TRUE(adapter.unrecognised().empty());
      EXPECT_TRUE(adapter.config().unsupported.empty());
      EXPECT_TRUE(adapter.config().unknown_keys.empty());
      EXPECT_FALSE(adapter.config().init_changes_base);
      for (const AdapterModule& module : adapter.modules()) {
        EXPECT_TRUE(is_targeted(adapter.config(), module.module)) << module.raw_name;
        EXPECT_EQ(module.magnitude.empty(), !adapter.config().use_dora) << module.raw_name;
      }
      ++opened;
    }
  }
  EXPECT_EQ(opened, 20);  // 18 golden cases, the demo, SmolLM2
}

// What PEFT built for adapters it then saved (make_peft_corpus.py): each wrapped module with its
// rank and scale, each tensor trained whole, each set of token rows, and nothing else.
TEST(Adapter, ReadsWhatPeftBuilt) {
  const std::vector<json> lines = read_lines("peft_adapters.jsonl");
  EXPECT_GE(lines.size(), 24U);
  for (const json& line : lines) {
    SCOPED_TRACE(line.at("name").get<std::string>());
    const TempFolder folder;
    folder.write("adapter_config.json", line.at("config").get<std::string>());
    std::vector<TestTensor> tensors;
    for (const auto& [name, shape] : line.at("tensors").items()) {
      tensors.push_back({name, shape.get<Shape>()});
    }
    folder.write_tensors("adapter_model.safetensors", tensors);
    const Adapter adapter = Adapter::open(folder.path());
    EXPECT_TRUE(adapter.unrecognised().empty());
    EXPECT_EQ(adapter.name_in_file(), "");

    json pairs = json::array();
    for (const AdapterModule& module : adapter.modules()) {
      pairs.push_back({module.module, module.rank, module.scale});
    }
    EXPECT_EQ(pairs, line.at("pairs"));

    json saved = json::array();
    const bool trains_bias = adapter.config().bias != "none";
    for (const AdapterReplacement& replacement : adapter.replacements()) {
      if (!replacement.rows.empty()) {
        // Tied heads hold the same rows without a tensor of their own: PEFT has more than the file.
        const json row = {replacement.name, replacement.rows};
        EXPECT_TRUE(std::find(line.at("rows").begin(), line.at("rows").end(), row) !=
                    line.at("rows").end());
      } else if (!replacement.base_copy && !(trains_bias && replacement.name.ends_with(".bias"))) {
        saved.push_back(replacement.name);
      }
    }
    EXPECT_EQ(saved, line.at("saved"));
  }
}

TEST(Adapter, KeepsPeftsAnswersOnRandomConfigs) {
  int answers = 0;
  int targeted = 0;
  for (const json& line : read_lines("peft_matching.jsonl")) {
    const AdapterConfig config = config_of(line.at("config").dump());
    const ModuleMatcher matcher(config);
    for (const auto& [module, answer] : line.at("modules").items()) {
      SCOPED_TRACE(line.at("config").dump() + " " + module);
      EXPECT_EQ(matcher.is_targeted(module), answer.at(0).get<bool>());
      EXPECT_EQ(is_targeted(config, module), answer.at(0).get<bool>());
      const auto [rank, alpha] = matcher.rank_and_alpha(module);
      EXPECT_EQ(rank, answer.at(1).get<std::int64_t>());
      EXPECT_EQ(alpha, answer.at(2).get<double>());
      ++answers;
      targeted += answer.at(0).get<bool>() ? 1 : 0;
    }
  }
  EXPECT_GT(answers, 10000);
  EXPECT_GT(targeted, 1000);
}

}  // namespace
}  // namespace mg
