#include "harness/audit/merge.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "harness/audit/audit.h"
#include "harness/io/digest.h"
#include "harness/io/json_file.h"
#include "kernels/core/error.h"
#include "tests/audit/world.h"

namespace mg {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

/// A folder of its own for each test, removed at the end.
class MergeTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::temp_directory_path() /
        fmt::format("mg-merge-{}", testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  MergeSummary merge(const fs::path& base, const fs::path& adapter, const fs::path& out,
                     MergeOptions options = {}, int threads = 2) {
    const Checkpoint checkpoint = Checkpoint::open(base);
    const Adapter peft = Adapter::open(adapter);
    const AttachedAdapter attached = attach(peft, checkpoint);
    ThreadPool pool(threads);
    return merge_to_folder(checkpoint, peft, attached, out, pool, options);
  }

  AuditOutcome audit(const fs::path& base, const fs::path& adapter, const fs::path& merged) {
    const Checkpoint checkpoint = Checkpoint::open(base);
    const Adapter peft = Adapter::open(adapter);
    const Checkpoint other = Checkpoint::open(merged);
    const AttachedAdapter attached = attach(peft, checkpoint);
    ThreadPool pool(2);
    return run_audit(checkpoint, peft, attached, other, pool);
  }

  fs::path out() const { return folder_ / "out"; }

  /// Nothing of a failed merge may stay behind.
  void expect_no_trace() const { EXPECT_TRUE(fs::is_empty(folder_)); }

  fs::path folder_;
};

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

const nlohmann::json& digests() {
  static const nlohmann::json table =
      read_json(fs::path(MG_TEST_DATA) / "audit/merge_digests.json");
  return table;
}

TEST_F(MergeTest, EqualsNumpysMergeInDoublePrecisionOnEveryGoldenCase) {
  ASSERT_EQ(digests().size(), 15U);
  for (const auto& [name, tensors] : digests().items()) {
    const fs::path golden = fs::path(MG_TEST_DATA) / "golden" / name;
    const fs::path merged = folder_ / name;
    merge(golden / "base", golden / "adapter", merged);
    const Checkpoint checkpoint = Checkpoint::open(merged);
    ASSERT_EQ(checkpoint.tensors().size(), tensors.size()) << name;
    for (const StoredTensor& tensor : checkpoint.tensors()) {
      EXPECT_EQ(digest_bytes({tensor.view.data, tensor.view.bytes}),
                tensors.at(tensor.name).get<std::string>())
          << name << " " << tensor.name;
    }
    const AuditOutcome outcome = audit(golden / "base", golden / "adapter", merged);
    EXPECT_EQ(test::exit_code_of(outcome), 0) << name << "\n" << test::describe(outcome);
    EXPECT_EQ(outcome.result.recipe.share, 1.0);
    EXPECT_TRUE(outcome.result.recipe.exceptions.empty());
    for (const TensorAudit& tensor : outcome.result.tensors) {
      EXPECT_EQ(tensor.differing, 0) << name << " " << tensor.name;
    }
  }
}

TEST_F(MergeTest, AnAdapterInAGgufFileMergesToTheSameBits) {
  for (const std::string name : {"gemma2", "llama-embed-lora", "phi3-packed"}) {
    SCOPED_TRACE(name);
    const fs::path golden = fs::path(MG_TEST_DATA) / "golden" / name;
    const fs::path file = fs::path(MG_TEST_DATA) / "io/gguf/adapters" / (name + ".gguf");
    merge(golden / "base", golden / "adapter", folder_ / (name + "-peft"));
    merge(golden / "base", file, folder_ / (name + "-gguf"));
    const Checkpoint expected = Checkpoint::open(folder_ / (name + "-peft"));
    const Checkpoint actual = Checkpoint::open(folder_ / (name + "-gguf"));
    ASSERT_EQ(actual.tensors().size(), expected.tensors().size());
    for (const StoredTensor& tensor : expected.tensors()) {
      const StoredTensor* same = actual.find(tensor.name);
      ASSERT_NE(same, nullptr) << tensor.name;
      ASSERT_EQ(same->view.bytes, tensor.view.bytes) << tensor.name;
      EXPECT_EQ(std::memcmp(same->view.data, tensor.view.data, tensor.view.bytes), 0)
          << tensor.name;
    }
    EXPECT_TRUE(fs::exists(folder_ / (name + "-gguf") / "mergegauge_merge.json"));
  }
}

TEST_F(MergeTest, ShardsAndThreadsDoNotChangeABit) {
  const fs::path demo = fs::path(MG_TEST_DATA) / "demo";
  merge(demo / "base", demo / "adapter", folder_ / "one", {}, 1);
  MergeOptions options;
  options.shard_bytes = 700'000;
  const MergeSummary summary = merge(demo / "base", demo / "adapter", folder_ / "many", options, 3);
  EXPECT_GT(summary.weight_files.size(), 3U);
  EXPECT_EQ(summary.weight_files.front(),
            fmt::format("model-00001-of-{:05}.safetensors", summary.weight_files.size()));
  EXPECT_FALSE(fs::exists(folder_ / "one/model.safetensors.index.json"));
  const Checkpoint one = Checkpoint::open(folder_ / "one");
  const Checkpoint many = Checkpoint::open(folder_ / "many");
  EXPECT_TRUE(many.has_index());
  ASSERT_EQ(one.tensors().size(), many.tensors().size());
  std::uint64_t bytes = 0;
  for (const StoredTensor& tensor : one.tensors()) {
    const StoredTensor* other = many.find(tensor.name);
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(digest_bytes({tensor.view.data, tensor.view.bytes}),
              digest_bytes({other->view.data, other->view.bytes}));
    bytes += tensor.view.bytes;
  }
  EXPECT_EQ(read_json(folder_ / "many/model.safetensors.index.json")["metadata"]["total_size"],
            bytes);
}

TEST_F(MergeTest, CleansTheConfigAndCopiesWhatAServerNeeds) {
  const test::World world({});
  const fs::path at = world.write();
  write(at / "base/config.json", R"({"model_type": "llama", "zeta": 1, "tie_word_embeddings": false,
    "quantization_config": {"quant_method": "bitsandbytes"}, "text_config": {"quantization_config": {}, "dtype": "float16"},
    "torch_dtype": "float16"})");
  write(at / "base/tokenizer.json", "base");
  write(at / "base/tokenizer_config.json", "base");
  write(at / "base/generation_config.json", "{}");
  write(at / "base/preprocessor_config.json", "{}");
  write(at / "base/modeling_x.py", "code");
  write(at / "base/pytorch_model.bin", "pickle");
  write(at / "base/README.md", "card");
  write(at / "adapter/chat_template.jinja", "adapter");
  write(at / "base/chat_template.jinja", "base");
  MergeOptions options;
  options.dtype = DType::kBF16;
  const MergeSummary summary = merge(at / "base", at / "adapter", out(), options);
  EXPECT_THAT(summary.side_files,
              ElementsAre("chat_template.jinja", "generation_config.json", "modeling_x.py",
                          "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"));
  EXPECT_EQ(read_text(out() / "chat_template.jinja"), "adapter");
  EXPECT_EQ(read_text(out() / "config.json"),
            "{\n  \"model_type\": \"llama\",\n  \"zeta\": 1,\n  \"tie_word_embeddings\": false,\n"
            "  \"text_config\": {\n    \"dtype\": \"bfloat16\"\n  },\n  \"torch_dtype\": "
            "\"bfloat16\"\n}\n");
  EXPECT_THAT(summary.config_changes,
              ElementsAre("removed quantization_config: the weights are not quantised",
                          "torch_dtype: float16 -> bfloat16",
                          "removed text_config.quantization_config: the weights are not quantised",
                          "text_config.dtype: float16 -> bfloat16"));
  const nlohmann::json provenance = read_json(out() / "mergegauge_merge.json");
  EXPECT_EQ(provenance["schema"], "mergegauge.merge/1");
  EXPECT_EQ(provenance["changed_tensors"].size(), 30U);  // all: the dtype changed
  EXPECT_EQ(provenance["config_changes"].size(), 4U);
  for (const nlohmann::json& file : provenance["output"]["files"]) {
    EXPECT_EQ(file["sha256"], digest_file(out() / file["path"].get<std::string>()).sha256);
  }
  const AuditOutcome outcome = audit(at / "base", at / "adapter", out());
  EXPECT_EQ(test::exit_code_of(outcome), 0) << test::describe(outcome);
}

TEST_F(MergeTest, ATokenizerIsTakenWholeFromTheAdapter) {
  const test::World world({});
  const fs::path at = world.write();
  write(at / "base/tokenizer.json", "base");
  write(at / "base/special_tokens_map.json", "base");
  write(at / "adapter/tokenizer.json", "adapter");
  const MergeSummary summary = merge(at / "base", at / "adapter", out());
  EXPECT_THAT(summary.side_files, ElementsAre("tokenizer.json"));
  EXPECT_EQ(read_text(out() / "tokenizer.json"), "adapter");
}

TEST_F(MergeTest, FinerIslandsKeepTheirDtype) {
  test::World world({.base = DType::kBF16, .merged = DType::kBF16});
  world.base["model.norm.weight"] = world.base["model.norm.weight"].as(DType::kF32);
  const fs::path at = world.write();
  MergeOptions options;
  options.dtype = DType::kF16;
  merge(at / "base", at / "adapter", out(), options);
  const Checkpoint merged = Checkpoint::open(out());
  EXPECT_EQ(merged.find("model.norm.weight")->view.dtype, DType::kF32);
  EXPECT_EQ(merged.find("lm_head.weight")->view.dtype, DType::kF16);
}

TEST_F(MergeTest, ATiedTableAdaptedOnOneSideIsUntied) {
  test::World world({.tied = true});
  std::mt19937_64 random(9);
  world.adapter["base_model.model.model.embed_tokens.lora_embedding_A"] =
      test::Tensor::normal(DType::kF32, {8, 128}, 0.05, random);
  world.adapter["base_model.model.model.embed_tokens.lora_embedding_B"] =
      test::Tensor::normal(DType::kF32, {64, 8}, 0.05, random);
  world.adapter_config["target_modules"].push_back("embed_tokens");
  const fs::path at = world.write();
  const MergeSummary summary = merge(at / "base", at / "adapter", out());
  EXPECT_THAT(summary.config_changes,
              ElementsAre("tie_word_embeddings: true -> false: head and embedding differ"));
  const Checkpoint base = Checkpoint::open(at / "base");
  const Checkpoint merged = Checkpoint::open(out());
  const TensorView head = merged.find("lm_head.weight")->view;
  const TensorView table = base.find("model.embed_tokens.weight")->view;
  EXPECT_TRUE(std::equal(head.data, head.data + head.bytes, table.data));
  const TensorView own = merged.find("model.embed_tokens.weight")->view;
  EXPECT_FALSE(std::equal(own.data, own.data + own.bytes, table.data));
  const AuditOutcome outcome = audit(at / "base", at / "adapter", out());
  EXPECT_EQ(test::exit_code_of(outcome), 0) << test::describe(outcome);
}

template <typename Run>
ErrorParts error_of(const Run& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.parts();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TEST_F(MergeTest, RefusesToOverwrite) {
  const test::World world({});
  const fs::path at = world.write();
  fs::create_directories(out());
  const ErrorParts parts = error_of([&] { merge(at / "base", at / "adapter", out()); });
  EXPECT_EQ(render_error(parts),
            fmt::format("error[merge.exists]: the output folder exists; nothing is overwritten\n"
                        "  where:    {}\n"
                        "  expected: a path that does not exist\n"
                        "  hint:     name another folder, or remove this one",
                        out().string()));
}

TEST_F(MergeTest, LeavesNothingBehindWhenAValueOverflows) {
  test::World world({.base = DType::kBF16, .merged = DType::kBF16});
  world.base["model.layers.1.mlp.up_proj.weight"].set(130, 65600.0);
  const fs::path at = world.write();
  MergeOptions options;
  options.dtype = DType::kF16;
  const ErrorParts parts = error_of([&] { merge(at / "base", at / "adapter", out(), options); });
  EXPECT_EQ(parts.code, "merge.overflow");
  EXPECT_EQ(parts.what, "a merged value is too large for F16");
  EXPECT_EQ(parts.where, "model.layers.1.mlp.up_proj.weight, row 2, column 2");
  EXPECT_EQ(parts.expected, "magnitude below 65520");
  expect_no_trace();
}

TEST_F(MergeTest, RefusesWhatItCannotMergeFully) {
  {
    test::World world({});
    world.adapter["base_model.model.model.layers.7.mlp.up_proj.lora_A.weight"] =
        test::Tensor(DType::kF32, {8, 64});
    world.adapter["base_model.model.model.layers.7.mlp.up_proj.lora_B.weight"] =
        test::Tensor(DType::kF32, {96, 8});
    const fs::path at = world.write();
    EXPECT_EQ(error_of([&] { merge(at / "base", at / "adapter", out()); }).code, "merge.unreached");
  }
  {
    test::World world({});
    world.adapter_config["init_lora_weights"] = "pissa";
    const fs::path at = world.write();
    EXPECT_EQ(error_of([&] { merge(at / "base", at / "adapter", out()); }).code,
              "merge.residual-base");
  }
  const fs::path golden = fs::path(MG_TEST_DATA) / "golden/qwen2-nf4";
  EXPECT_EQ(error_of([&] { merge(golden / "base", golden / "adapter", out()); }).code,
            "merge.quantised-base");
  expect_no_trace();
}

}  // namespace
}  // namespace mg
