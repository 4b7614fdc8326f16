// The case the project began with, as a user lives through it: a Qwen2-VL fine-tune of language
// model and tower, merged to 16 bits, that kept the quantization_config of its 4-bit base; and the
// same merge with the tower's LoRA forgotten.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/cli/subprocess.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr int kStoryPrompts = 25;  // a verdict takes 20

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The golden case with a suite of texts and images that is long enough to judge by.
class SeedStory : public testing::Test {
 protected:
  SeedStory() {
    fs::copy(fs::path(MG_TEST_DATA) / "golden/qwen2-vl", folder_.path() / "case",
             fs::copy_options::recursive);
    for (const auto& entry : fs::recursive_directory_iterator(part(""))) {
      fs::permissions(entry.path(), fs::perms::owner_write, fs::perm_options::add);
    }
    std::vector<nlohmann::json> given;
    std::ifstream lines(part("inputs.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      given.push_back(nlohmann::json::parse(line));
    }
    std::ofstream suite(part("suite.jsonl"));
    for (int i = 0; i < kStoryPrompts; ++i) {
      nlohmann::json prompt = given[static_cast<std::size_t>(i) % given.size()];
      prompt["id"] = prompt["id"].get<std::string>() + "-" + std::to_string(i);
      prompt["input_ids"].push_back(10 + i);
      suite << prompt.dump() << '\n';
    }
  }

  fs::path part(const char* name) const { return folder_.path() / "case" / name; }
  RunResult lint(std::vector<std::string> more) const {
    more.insert(more.begin(),
                {"lint", part("merged"), "--base", part("base"), "--adapter", part("adapter")});
    return run_mergegauge(more);
  }
  RunResult check() const {
    return run_mergegauge({"check", "--base", part("base"), "--adapter", part("adapter"),
                           "--merged", part("merged"), "--suite", part("suite.jsonl"), "--out",
                           part("report")});
  }

  /// Gives merged the base's numbers in every tensor whose name begins so; both files have one
  /// header.
  void leave_at_base(const std::string& prefix) const {
    const std::string base = bytes_of(part("base/model.safetensors"));
    std::string merged = bytes_of(part("merged/model.safetensors"));
    std::uint64_t length = 0;
    std::memcpy(&length, base.data(), sizeof(length));
    const std::size_t data = sizeof(length) + length;
    ASSERT_EQ(base.substr(0, data), merged.substr(0, data));
    const auto header = nlohmann::json::parse(base.substr(sizeof(length), length));
    for (const auto& [name, tensor] : header.items()) {
      if (name.starts_with(prefix)) {
        const std::size_t begin = data + tensor["data_offsets"][0].get<std::size_t>();
        const std::size_t end = data + tensor["data_offsets"][1].get<std::size_t>();
        merged.replace(begin, end - begin, base, begin, end - begin);
      }
    }
    std::ofstream(part("merged/model.safetensors"), std::ios::binary) << merged;
  }

 private:
  ScratchFolder folder_;
};

TEST_F(SeedStory, LeftoverQuantisationIsNamedRepairedAndTheNumbersPass) {
  nlohmann::json config = load_json(part("merged/config.json"));
  config["quantization_config"] = {
      {"load_in_4bit", true}, {"bnb_4bit_quant_type", "nf4"}, {"quant_method", "bitsandbytes"}};
  std::ofstream(part("merged/config.json")) << config.dump(2);

  const RunResult named = lint({});
  EXPECT_EQ(named.exit_code, 1);
  EXPECT_THAT(named.out, AllOf(HasSubstr("error[config.leftover-quantization] F01: "),
                               HasSubstr("Unexpected weight: model.layers.0.mlp.down_proj.weight"),
                               HasSubstr("delete quantization_config from config.json")));
  const RunResult refused = check();
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.out,
              HasSubstr("FAIL  The outputs are right, but the checkpoint's files are not."));

  EXPECT_EQ(lint({"--fix"}).exit_code, 0);
  const RunResult passed = check();
  EXPECT_EQ(passed.exit_code, 0) << passed.out << passed.err;
  EXPECT_THAT(passed.out, AllOf(HasSubstr("PASS  The merged checkpoint answers as base + adapter"),
                                HasSubstr("29 of 29     tensors that hold the adapter once")));
}

TEST_F(SeedStory, AForgottenTowerFailsByName) {
  leave_at_base("visual.");
  const RunResult failed = check();
  EXPECT_EQ(failed.exit_code, 1) << failed.out << failed.err;
  std::string line = failed.out;
  std::replace(line.begin(), line.end(), '\n', ' ');  // however it is wrapped
  EXPECT_THAT(line, AllOf(HasSubstr("FAIL  The merged checkpoint is not base + adapter."),
                          HasSubstr("8 of 29 targeted tensors were left at the base"),
                          HasSubstr("visual.blocks.0.attn.proj.weight"),
                          HasSubstr("begins at vision layer 0, attention")));
  const nlohmann::json report = load_json(part("report/report.json"));
  EXPECT_EQ(report["status"], "fail");
}

}  // namespace
}  // namespace mg
