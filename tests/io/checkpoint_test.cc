#include "harness/io/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "harness/io/folder.h"
#include "tests/io/temp_folder.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

std::string open_error(const TempFolder& folder, const std::string& name = "") {
  return folder.error_of(
      [&] { Checkpoint::open(name.empty() ? folder.path() : folder.path() / name); });
}

void write_index(const TempFolder& folder, const nlohmann::json& weight_map) {
  folder.write(
      "model.safetensors.index.json",
      nlohmann::json{{"metadata", {{"total_size", 8}}}, {"weight_map", weight_map}}.dump());
}

TEST(Checkpoint, OpensEveryFolderOfTheTestData) {
  int opened = 0;
  for (const char* root : {"/golden", "/demo"}) {
    for (const auto& entry : fs::recursive_directory_iterator(std::string(MG_TEST_DATA) + root)) {
      if (entry.path().filename() != "config.json") {
        continue;
      }
      const Checkpoint checkpoint = Checkpoint::open(entry.path().parent_path());
      EXPECT_FALSE(checkpoint.tensors().empty()) << entry.path();
      EXPECT_TRUE(checkpoint.config().contains("model_type")) << entry.path();
      EXPECT_FALSE(checkpoint.has_index());
      EXPECT_TRUE(checkpoint.stray_files().empty()) << entry.path();
      ++opened;
    }
  }
  EXPECT_EQ(opened, 41);  // 18 cases of base and merged, 3 merged_16bit_base; the demo's two
}

TEST(Checkpoint, FindsTensorsByNameInAnyShard) {
  const TempFolder folder;
  folder.write("config.json", "{}");
  folder.write_tensors("a.safetensors", {{"z", {2}}, {"b.weight", {3}, DType::kBF16}});
  folder.write_tensors("sub/c.safetensors", {{"a", {}}});
  write_index(folder,
              {{"z", "a.safetensors"}, {"b.weight", "a.safetensors"}, {"a", "sub/c.safetensors"}});
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_TRUE(checkpoint.has_index());
  EXPECT_EQ(checkpoint.index()["metadata"]["total_size"], 8);
  ASSERT_EQ(checkpoint.tensors().size(), 3U);
  EXPECT_EQ(checkpoint.tensors()[0].name, "a");
  ASSERT_NE(checkpoint.find("b.weight"), nullptr);
  const TensorView& view = checkpoint.find("b.weight")->view;
  EXPECT_EQ(view.dtype, DType::kBF16);
  EXPECT_EQ(view.shape, Shape{3});
  EXPECT_EQ(view.bytes, 6U);
  EXPECT_EQ(std::to_integer<int>(view.data[0]), 8);  // behind the 8 bytes of "z"
  EXPECT_EQ(checkpoint.find("b"), nullptr);
  EXPECT_EQ(checkpoint.find("b.weightx"), nullptr);
  checkpoint.prefetch(*checkpoint.find("a"));
  checkpoint.release(*checkpoint.find("a"));
  checkpoint.check_intact();
}

TEST(Checkpoint, ReadsTheHubsCacheThroughItsLinks) {
  const TempFolder folder;
  folder.write("models--o--n/blobs/11", "{\"model_type\": \"llama\"}");
  folder.write_tensors("models--o--n/blobs/22", {{"a", {1}}});
  const fs::path snapshot = folder.path() / "models--o--n/snapshots/abc";
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/11", snapshot / "config.json");
  fs::create_symlink("../../blobs/22", snapshot / "model.safetensors");
  EXPECT_EQ(Checkpoint::open(snapshot).tensors().size(), 1U);
  EXPECT_EQ(open_error(folder, "models--o--n"),
            "error[folder.hub-cache]: this is the root of a Hub cache entry, not a model folder\n"
            "  where:    DIR/models--o--n\n"
            "  expected: a model folder   actual: blobs, refs and snapshots\n"
            "  hint:     give one of its snapshots: DIR/models--o--n/snapshots/abc");
}

TEST(Checkpoint, KeepsFilesOutsideTheIndexAsStrays) {
  const TempFolder folder;
  folder.write("config.json", "{}");
  folder.write_tensors("model.safetensors", {{"a", {1}}});
  folder.write_tensors("old.safetensors", {{"b", {1}}});
  folder.write_tensors("consolidated.safetensors", {{"c", {1}}});
  folder.write_tensors("adapter_model.safetensors", {{"d", {1}}});  // F17, another rule's business
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.stray_files(),
            (std::vector<std::string>{"consolidated.safetensors", "old.safetensors"}));
}

TEST(Checkpoint, OpensWithoutAConfigOnRequest) {
  const TempFolder folder;
  folder.write_tensors("model.safetensors", {{"a", {1}}});
  EXPECT_TRUE(Checkpoint::open(folder.path(), {.require_config = false}).config().is_null());
  EXPECT_EQ(open_error(folder),
            "error[checkpoint.no-config]: the folder has no config.json\n"
            "  where:    DIR\n"
            "  expected: config.json   actual: nothing\n"
            "  hint:     copy config.json from the model this one was made from");
}

TEST(Checkpoint, AShardThatShrinksIsReported) {
  const TempFolder folder;
  folder.write("config.json", "{}");
  const fs::path path = folder.write_tensors("model.safetensors", {{"a", {4096}}});
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  fs::resize_file(path, 4096);
  int sum = 0;
  for (std::size_t i = 0; i < checkpoint.tensors()[0].view.bytes; ++i) {
    sum += std::to_integer<int>(checkpoint.tensors()[0].view.data[i]);
  }
  EXPECT_GT(sum, 0);
  EXPECT_THROW(checkpoint.check_intact(), Error);
}

TEST(CheckpointErrors, NamesWhatIsNoFolder) {
  const TempFolder folder;
  EXPECT_EQ(
      folder.error_of([] { Checkpoint::open("Qwen/Qwen2-7B-Instruct"); }),
      "error[folder.hub-id]: Qwen/Qwen2-7B-Instruct looks like the id of a repository on the "
      "Hugging Face Hub, and no folder of that name is here\n"
      "  where:    Qwen/Qwen2-7B-Instruct\n"
      "  expected: a model folder   actual: nothing\n"
      "  hint:     mergegauge reads files and downloads nothing; fetch it first: hf download "
      "Qwen/Qwen2-7B-Instruct --local-dir Qwen2-7B-Instruct (huggingface-cli download in older "
      "versions)");
  EXPECT_EQ(
      folder.error_of([] { Checkpoint::open("https://huggingface.co/o/n@v1/"); }),
      "error[folder.hub-id]: https://huggingface.co/o/n@v1/ looks like the id of a repository on "
      "the Hugging Face Hub, and no folder of that name is here\n"
      "  where:    https://huggingface.co/o/n@v1/\n"
      "  expected: a model folder   actual: nothing\n"
      "  hint:     mergegauge reads files and downloads nothing; fetch it first: hf download o/n "
      "--revision v1 --local-dir n (huggingface-cli download in older versions)");
  EXPECT_EQ(open_error(folder, "absent"),
            "error[folder.not-found]: no such folder\n"
            "  where:    DIR/absent\n"
            "  expected: a model folder   actual: nothing");
  folder.write("m/model-q4.gguf", "GGUF");
  EXPECT_EQ(open_error(folder, "m/model-q4.gguf"),
            "error[folder.is-file]: this is a file, a folder is needed\n"
            "  where:    DIR/m/model-q4.gguf\n"
            "  expected: a model folder   actual: a GGUF file\n"
            "  hint:     give the folder that holds it, with its config: DIR/m");
}

TEST(CheckpointErrors, NamesOtherFormatsWithTheCommandThatConvertsThem) {
  const TempFolder folder;
  folder.write("config.json", "{}");
  EXPECT_EQ(open_error(folder),
            "error[checkpoint.no-weights]: the folder holds no weights\n"
            "  where:    DIR\n"
            "  expected: model.safetensors, or shards with model.safetensors.index.json   "
            "actual: other files (1)\n"
            "  hint:     the export or download did not finish, or this is another folder than you "
            "think");
  folder.write("training_args.bin", "x");
  EXPECT_NE(open_error(folder).find("checkpoint.no-weights"), std::string::npos);
  folder.write("flax_model.msgpack", "x");
  EXPECT_EQ(open_error(folder),
            "error[checkpoint.other-format]: the weights are in another framework's format\n"
            "  where:    DIR\n"
            "  expected: model.safetensors, or shards with model.safetensors.index.json   "
            "actual: flax_model.msgpack\n"
            "  hint:     export the model with save_pretrained from PyTorch");
  folder.write("pytorch_model-00001-of-00002.bin", "x");
  folder.write("pytorch_model-00002-of-00002.bin", "x");
  EXPECT_EQ(
      open_error(folder),
      "error[checkpoint.pickle]: the weights are in a PyTorch pickle, which could run code when "
      "read\n"
      "  where:    DIR\n"
      "  expected: model.safetensors, or shards with model.safetensors.index.json   "
      "actual: pytorch_model-00001-of-00002.bin, pytorch_model-00002-of-00002.bin\n"
      "  hint:     convert it first: python -c 'from transformers import AutoModelForCausalLM as "
      "M; "
      "M.from_pretrained(\"DIR\", dtype=\"auto\").save_pretrained(\"DIR-safetensors\")'");
  folder.write("model-q8_0.gguf", "GGUF");
  EXPECT_EQ(open_error(folder),
            "error[checkpoint.gguf]: the weights are in a GGUF file\n"
            "  where:    DIR\n"
            "  expected: model.safetensors, or shards with model.safetensors.index.json   "
            "actual: model-q8_0.gguf\n"
            "  hint:     convert it first: python -c 'from transformers import "
            "AutoModelForCausalLM as M; "
            "M.from_pretrained(\"DIR\", gguf_file=\"model-q8_0.gguf\", dtype=\"auto\")"
            ".save_pretrained(\"DIR-safetensors\")'");
  folder.write_tensors("consolidated.safetensors", {{"a", {1}}});
  EXPECT_EQ(
      open_error(folder),
      "error[checkpoint.consolidated]: the weights are in Mistral's own format, whose tensor names "
      "differ\n"
      "  where:    DIR\n"
      "  expected: model.safetensors, or shards with model.safetensors.index.json   "
      "actual: consolidated.safetensors\n"
      "  hint:     download the Hugging Face form of the model, or convert it with "
      "transformers/models/mistral/convert_mistral_weights_to_hf.py");
}

TEST(CheckpointErrors, NamesMetasPickle) {
  const TempFolder folder;
  folder.write("consolidated.00.pth", "x");
  EXPECT_EQ(
      open_error(folder),
      "error[checkpoint.pickle]: the weights are in a PyTorch pickle, which could run code when "
      "read\n"
      "  where:    DIR\n"
      "  expected: model.safetensors, or shards with model.safetensors.index.json   "
      "actual: consolidated.00.pth\n"
      "  hint:     convert it first: python -m transformers.models.llama."
      "convert_llama_weights_to_hf --input_dir DIR --output_dir DIR-safetensors");
}

TEST(CheckpointErrors, NamesAnAdapterGivenAsAModel) {
  const TempFolder folder;
  folder.write("adapter_config.json", "{}");
  folder.write_tensors("adapter_model.safetensors", {{"a", {1}}});
  EXPECT_EQ(open_error(folder),
            "error[checkpoint.is-adapter]: this is an adapter, not a model\n"
            "  where:    DIR\n"
            "  expected: model.safetensors, or shards with model.safetensors.index.json   "
            "actual: adapter_config.json\n"
            "  hint:     give it as --adapter, and the model it was trained on as --base");
}

TEST(CheckpointErrors, NamesShardsWithoutAnIndexAndOtherNames) {
  const TempFolder folder;
  folder.write("config.json", "{}");
  folder.write_tensors("weights.safetensors", {{"a", {1}}});
  EXPECT_EQ(
      open_error(folder),
      "error[checkpoint.other-name]: the safetensors files here have names that loaders do not "
      "look "
      "for\n"
      "  where:    DIR\n"
      "  expected: model.safetensors, or shards with model.safetensors.index.json   "
      "actual: weights.safetensors\n"
      "  hint:     if it is the whole model: mv DIR/weights.safetensors DIR/model.safetensors");
  fs::remove(folder.path() / "weights.safetensors");
  folder.write_tensors("model-00001-of-00003.safetensors", {{"a", {1}}});
  folder.write_tensors("model-00003-of-00003.safetensors", {{"c", {1}}});
  EXPECT_EQ(open_error(folder),
            "error[checkpoint.no-index]: the weights are in shards and their index is missing\n"
            "  where:    DIR\n"
            "  expected: model.safetensors, or shards with model.safetensors.index.json   "
            "actual: model-00001-of-00003.safetensors, model-00003-of-00003.safetensors without "
            "model.safetensors.index.json\n"
            "  hint:     shard 2 of 3 is missing too: download or export the model again");
  folder.write_tensors("model-00002-of-00003.safetensors", {{"b", {1}}});
  EXPECT_NE(open_error(folder).find("hint:     `mergegauge lint --fix` writes the index anew"),
            std::string::npos);
}

TEST(CheckpointErrors, ListsAllDisagreementsOfIndexAndShards) {
  const TempFolder folder;
  folder.write("config.json", "{}");
  folder.write_tensors("1.safetensors", {{"a", {1}}, {"extra", {1}}, {"twice", {1}}});
  folder.write_tensors("2.safetensors", {{"b", {1}}, {"twice", {1}}});
  write_index(folder, {{"a", "2.safetensors"},
                       {"b", "2.safetensors"},
                       {"gone", "1.safetensors"},
                       {"lost", "3.safetensors"},
                       {"twice", "2.safetensors"}});
  EXPECT_EQ(open_error(folder),
            "error[index.disagrees]: the index and the shards disagree\n"
            "  where:    DIR/model.safetensors.index.json\n"
            "  expected: each tensor in the file that weight_map names, and no other   "
            "actual: 5 problems\n"
            "    twice: in 1.safetensors and in 2.safetensors\n"
            "    3.safetensors: named by the index, not in the folder\n"
            "    a: the index says 2.safetensors, it is in 1.safetensors\n"
            "    gone: the index says 1.safetensors, it is in no shard\n"
            "    extra: in 1.safetensors, not in the index\n"
            "  hint:     an incomplete download or a stale index: fetch or export again");
}

TEST(CheckpointErrors, RefusesAnIndexThatLeavesItsFolder) {
  const TempFolder folder;
  folder.write("config.json", "{}");
  folder.write_tensors("outside.safetensors", {{"a", {1}}});
  write_index(folder, {{"a", "../outside.safetensors"},
                       {"b", "/etc/passwd"},
                       {"c", "sub/../../x.safetensors"},
                       {"d", "model.bin"},
                       {"e", ""},
                       {"f", "c:\\x.safetensors"}});
  EXPECT_EQ(open_error(folder),
            "error[index.path]: the index names files that will not be opened\n"
            "  where:    DIR/model.safetensors.index.json, weight_map\n"
            "  expected: names of *.safetensors files inside the folder   actual: 6 problems\n"
            "    \"\" is empty\n"
            "    \"../outside.safetensors\" leaves the folder\n"
            "    \"/etc/passwd\" is an absolute path\n"
            "    \"c:\\x.safetensors\" holds a backslash\n"
            "    \"model.bin\" is no safetensors file\n"
            "    \"sub/../../x.safetensors\" leaves the folder\n"
            "  hint:     an index must not point outside its folder: export the model again");
}

TEST(CheckpointErrors, NamesABrokenIndex) {
  const TempFolder folder;
  folder.write("config.json", "{}");
  const auto with_index = [&](const char* text) {
    folder.write("model.safetensors.index.json", text);
    return open_error(folder);
  };
  EXPECT_EQ(with_index("[]"),
            "error[index.structure]: the index is not an object\n"
            "  where:    DIR/model.safetensors.index.json\n"
            "  expected: {\"metadata\": ..., \"weight_map\": ...}   actual: a list\n"
            "  hint:     export the model again, or let `mergegauge lint --fix` write the index "
            "anew from "
            "the shards");
  EXPECT_EQ(with_index("{\"weight_map\": {\"a\": 1}}"),
            "error[index.structure]: an entry of weight_map is not a file name\n"
            "  where:    DIR/model.safetensors.index.json, weight_map.a\n"
            "  expected: a string   actual: an integer\n"
            "  hint:     export the model again, or let `mergegauge lint --fix` write the index "
            "anew from "
            "the shards");
  EXPECT_EQ(with_index("{\"weight_map\": {\"a\": \"1.safetensors\", \"a\": \"2.safetensors\"}}"),
            "error[json.duplicate-key]: the key \"a\" is given twice in one object\n"
            "  where:    DIR/model.safetensors.index.json, weight_map.a\n"
            "  hint:     readers differ in which of the two they take: delete one");
}

TEST(CheckpointErrors, RefusesTwoSetsOfWeights) {
  const TempFolder folder;
  folder.write("config.json", "{}");
  folder.write_tensors("model.safetensors", {{"a", {1}}});
  folder.write_tensors("model-00001-of-00001.safetensors", {{"a", {1}}});
  write_index(folder, {{"a", "model-00001-of-00001.safetensors"}});
  EXPECT_EQ(
      open_error(folder),
      "error[checkpoint.two-sets]: the folder holds two sets of weights, and loaders differ in "
      "which they take\n"
      "  where:    DIR\n"
      "  expected: model.safetensors, or shards with an index   actual: model.safetensors (which "
      "transformers reads) and an index of model-00001-of-00001.safetensors (which vLLM reads)\n"
      "  hint:     an export into a used folder: move the older set away");
  write_index(folder, {{"a", "model.safetensors"}});
  EXPECT_EQ(open_error(folder), "no error");
}

TEST(CheckpointErrors, NamesLineAndColumnOfABrokenConfig) {
  const TempFolder folder;
  folder.write("config.json", "{\n  \"hidden_size\": 896,\n}\n");
  folder.write_tensors("model.safetensors", {{"a", {1}}});
  EXPECT_EQ(open_error(folder),
            "error[json.syntax]: the file is not valid JSON\n"
            "  where:    DIR/config.json, line 3, column 1\n"
            "  actual:   while parsing object key - unexpected '}'; expected string literal");
  folder.write("config.json", "[1]");
  EXPECT_EQ(open_error(folder),
            "error[checkpoint.config-structure]: config.json is not an object\n"
            "  where:    DIR/config.json\n"
            "  expected: {...}   actual: a list\n"
            "  hint:     copy config.json from the model this one was made from");
}

TEST(FolderScan, ReadsWhatItCanOfABrokenFolder) {
  const TempFolder folder;
  folder.write("config.json", "{\"model_type\": \"llama\"}");
  folder.write("generation_config.json", "{");
  folder.write_tensors("model-00001-of-00002.safetensors", {{"a", {1}}});
  folder.write("model-00002-of-00002.safetensors", "short");
  fs::create_symlink("../nowhere", folder.path() / "tokenizer_config.json");
  folder.write("tokenizer.json", "not read");
  folder.write("sub/config.json", "{}");
  const FolderScan scan = scan_folder(folder.path());
  EXPECT_EQ(scan.entries.size(), 7U);
  EXPECT_TRUE(scan.entry("sub")->is_folder);
  EXPECT_TRUE(scan.entry("tokenizer_config.json")->dangling);
  EXPECT_EQ(scan.entry("config.json")->bytes, 23U);
  EXPECT_EQ((*scan.json("config.json"))["model_type"], "llama");
  EXPECT_EQ(scan.json("generation_config.json"), nullptr);
  EXPECT_EQ(scan.json("absent.json"), nullptr);
  EXPECT_TRUE(scan.shard("model-00001-of-00002.safetensors")->file.has_value());
  EXPECT_EQ(scan.shard("model-00002-of-00002.safetensors")->problem->code, "safetensors.too-small");
  ASSERT_EQ(scan.jsons.size(), 3U);
  EXPECT_EQ(scan.jsons[1].problem->code, "json.syntax");
  EXPECT_EQ(scan.jsons[2].problem->code, "file.dangling-link");
}

TEST(FolderScan, AnEmptyFolderIsNoError) {
  const TempFolder folder;
  EXPECT_TRUE(scan_folder(folder.path()).entries.empty());
  EXPECT_EQ(open_error(folder),
            "error[checkpoint.no-weights]: the folder holds no weights\n"
            "  where:    DIR\n"
            "  expected: model.safetensors, or shards with model.safetensors.index.json   "
            "actual: an empty folder\n"
            "  hint:     the export or download did not finish, or this is another folder than you "
            "think");
}

}  // namespace
}  // namespace mg
