// Right merges are quiet: every golden triple, the demo; the three quantised ones carry the
// leftover key by design.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "harness/model/resolve.h"
#include "tests/lint/world.h"

namespace mg::lint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Result lint_triple(const fs::path& folder) {
  Options options;
  options.merged = folder / "merged";
  options.base = folder / "base";
  options.adapter = folder / "adapter";
  return run(options);
}

bool is_quantised(const std::string& name) {
  return name == "qwen2-nf4" || name == "qwen2-fp4" || name == "qwen2-int8";
}

TEST(LintGolden, OnlyTheQuantisedCarryTheLeftoverKey) {
  int seen = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(MG_TEST_DATA) / "golden")) {
    if (!fs::exists(entry.path() / "merged")) {
      continue;
    }
    ++seen;
    const std::string name = entry.path().filename();
    const Result result = lint_triple(entry.path());
    if (is_quantised(name)) {
      EXPECT_THAT(rules_above_note(result), ElementsAre("config.leftover-quantization"))
          << name << "\n"
          << findings_text(result);
    } else {
      EXPECT_THAT(rules_above_note(result), IsEmpty()) << name << "\n" << findings_text(result);
    }
  }
  EXPECT_EQ(seen, 18);
}

/// A checkpoint as a quantiser wrote it (tests/io/quantised), to be changed.
class QuantisersFolder : public ::testing::Test {
 protected:
  void take(const std::string& name) {
    fs::remove_all(path_);
    fs::copy(fs::path(MG_TEST_DATA) / "io" / "quantised" / "cases" / name, path_);
    fs::permissions(path_ / "config.json", fs::perms::owner_write, fs::perm_options::add);
    fs::permissions(path_ / "model.safetensors", fs::perms::owner_write, fs::perm_options::add);
    fs::remove(path_ / "expected.safetensors");
    TensorFile file = TensorFile::read(path_ / "model.safetensors");
    file.metadata = {{"format", "pt"}};
    file.write(path_ / "model.safetensors");
  }

  void edit(const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json config = load_json(path_ / "config.json");
    change(config["quantization_config"]);
    std::ofstream(path_ / "config.json") << config.dump(2);
  }

  void erase(const std::string& tensor) {
    TensorFile file = TensorFile::read(path_ / "model.safetensors");
    file.erase(tensor);
    file.write(path_ / "model.safetensors");
  }

  Result lint() const {
    Options options;
    options.merged = path_;
    return run(options);
  }

  ScratchFolder folder_;
  fs::path path_ = folder_.path() / "model";
};

TEST_F(QuantisersFolder, IsQuietWhereItIsRight) {
  for (const char* name : {"gptq", "awq", "fp8", "compressed-int4"}) {
    take(name);
    const Result result = lint();
    EXPECT_THAT(rules_above_note(result), IsEmpty()) << name << "\n" << findings_text(result);
  }
}

TEST_F(QuantisersFolder, APartThatIsMissingIsF04) {
  for (const auto& [name, part] : std::map<std::string, std::string>{
           {"gptq", "model.layers.1.mlp.up_proj.qzeros"},
           {"awq", "model.layers.1.mlp.up_proj.scales"},
           {"fp8", "model.layers.1.mlp.up_proj.weight_scale_inv"},
           {"compressed-int4", "model.layers.1.mlp.up_proj.weight_zero_point"}}) {
    take(name);
    erase(part);
    const Result result = lint();
    EXPECT_THAT(rules_above_note(result), ElementsAre("tensors.codes-without-scale"))
        << name << "\n"
        << findings_text(result);
  }
}

TEST_F(QuantisersFolder, ADescriptionThatMeansNothingIsAnErrorAndAnotherLibrarysANote) {
  take("gptq");
  edit([](nlohmann::json& quantization) { quantization["bits"] = 5; });
  EXPECT_THAT(rules_above_note(lint()), ElementsAre("config.quantization-kind"));
  take("awq");
  edit([](nlohmann::json& quantization) { quantization["version"] = "gemv"; });
  const Result result = lint();
  EXPECT_THAT(rules_above_note(result), IsEmpty()) << findings_text(result);
  EXPECT_TRUE(std::any_of(result.findings.begin(), result.findings.end(), [](const auto& found) {
    return found.finding.rule == "config.quantization-kind" &&
           found.finding.severity == Severity::kNote;
  }));
  take("gptq");  // of other weights
  edit([](nlohmann::json& quantization) { quantization["group_size"] = 32; });
  EXPECT_THAT(rules_above_note(lint()), ElementsAre("tensors.codes-without-scale"));
}

TEST(LintGolden, QuantisedBasesAreRecognisedAndNotCalledLeftovers) {
  for (const char* name : {"qwen2-nf4", "qwen2-fp4", "qwen2-int8"}) {
    Options options;
    options.merged = fs::path(MG_TEST_DATA) / "golden" / name / "base";
    const Result result = run(options);
    EXPECT_THAT(rules_above_note(result), IsEmpty()) << name << "\n" << findings_text(result);
    const bool named =
        std::any_of(result.findings.begin(), result.findings.end(), [](const LintFinding& found) {
          return found.finding.rule == "tensors.packed" &&
                 found.finding.severity == Severity::kNote;
        });
    EXPECT_TRUE(named) << name;
  }
}

TEST(LintGolden, TheDemoIsQuiet) {
  const Result result = lint_triple(fs::path(MG_TEST_DATA) / "demo");
  EXPECT_THAT(rules_above_note(result), IsEmpty()) << findings_text(result);
}

/// A header over `tensors` in bfloat16, and data that takes no room on the disk.
void write_sparse(const fs::path& path, const std::vector<ResolvedTensor>& tensors) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t end = 0;
  for (const ResolvedTensor& tensor : tensors) {
    if (tensor.rule->optional) {
      continue;
    }
    const std::uint64_t begin = end;
    end += static_cast<std::uint64_t>(element_count(tensor.shape).value()) * 2;
    header[tensor.expected_name] = {
        {"dtype", "BF16"}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(&length), sizeof(length))
      .write(text.data(), static_cast<std::streamsize>(text.size()));
  fs::resize_file(path, sizeof(length) + text.size() + end);
}

// Qwen2.5-72B's sizes: a linter that touched the tensors would read 145 GB here and run into the
// test's time limit.
TEST(LintLarge, AHundredGigabytesAreJudgedByTheirHeadersAlone) {
  const nlohmann::json config = {{"model_type", "qwen2"},
                                 {"architectures", {"Qwen2ForCausalLM"}},
                                 {"torch_dtype", "bfloat16"},
                                 {"dtype", "bfloat16"},
                                 {"hidden_size", 8192},
                                 {"intermediate_size", 29568},
                                 {"num_hidden_layers", 80},
                                 {"num_attention_heads", 64},
                                 {"num_key_value_heads", 8},
                                 {"vocab_size", 152064},
                                 {"max_position_embeddings", 32768},
                                 {"rope_theta", 1000000.0},
                                 {"rms_norm_eps", 1e-6},
                                 {"hidden_act", "silu"},
                                 {"tie_word_embeddings", false}};
  ScratchFolder folder;
  const fs::path merged = folder.write_model("merged", config, {});
  const ArchSpec& arch = find_architecture(config, "config.json");
  write_sparse(merged / "model.safetensors",
               expected_tensors(arch, arch.read_config(config, "config.json")));
  ASSERT_GT(fs::file_size(merged / "model.safetensors"), 140'000'000'000U);
  Options options;
  options.merged = merged;
  options.base = merged;
  const Result result = run(options);
  EXPECT_THAT(rules_above_note(result), IsEmpty()) << findings_text(result);
}

}  // namespace
}  // namespace mg::lint
