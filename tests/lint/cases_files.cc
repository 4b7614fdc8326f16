// Files, shards and index.
#include "tests/lint/cases.h"

namespace mg::lint {
namespace {

constexpr const char* kSingle = "merged/model.safetensors";
constexpr const char* kIndex = "merged/model.safetensors.index.json";

/// A header of our own before the old data.
void write_header(const World& world, const std::string& header) {
  const std::uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
  world.write(kSingle, bytes + header + std::string(8, '\0'));
}

std::string first_tensor(const World& world, const std::string& file) {
  return TensorFile::read(world.path(file)).tensors.begin()->first;
}

}  // namespace

std::span<const Case> file_cases() {
  static const std::vector<Case> cases = {
      {"files.unreadable-json", "comma", "golden/qwen2",
       [](World& w) { w.write("merged/config.json", "{\n  \"model_type\": \"qwen2\",\n}"); }},
      {"files.unreadable-json", "not-an-object", "golden/qwen2",
       [](World& w) { w.write("merged/config.json", "[1]"); }},
      {"files.unreadable-json", "generation-config", "golden/qwen2",
       [](World& w) { w.write("merged/generation_config.json", "{\"eos_token_id\": 1"); }},
      {"files.no-config", "removed", "golden/qwen2",
       [](World& w) { w.remove("merged/config.json"); }, true},
      {"files.no-weights", "removed", "golden/qwen2", [](World& w) { w.remove(kSingle); }},
      {"files.no-weights", "gguf", "golden/qwen2",
       [](World& w) {
         w.remove(kSingle);
         w.write("merged/model-f16.gguf", "GGUF");
       }},
      {"files.no-weights", "pickle", "golden/qwen2",
       [](World& w) {
         w.remove(kSingle);
         w.write("merged/pytorch_model.bin", "PK");
       }},
      {"files.truncated", "shortened", "golden/qwen2",
       [](World& w) {
         const std::string bytes = w.text(kSingle);
         w.write(kSingle, bytes.substr(0, bytes.size() - 100));
       }},
      {"files.truncated", "empty", "golden/qwen2", [](World& w) { w.write(kSingle, ""); }},
      {"files.shared-bytes", "overlap", "golden/qwen2",
       [](World& w) {
         write_header(w, R"({"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},)"
                         R"("b":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}})");
       }},
      {"files.damaged-header", "huge-length", "golden/qwen2",
       [](World& w) {
         std::string bytes = w.text(kSingle);
         bytes.replace(0, 8, std::string("\xff\xff\xff\xff\0\0\0\0", 8));
         w.write(kSingle, bytes);
       }},
      {"files.damaged-header", "no-json", "golden/qwen2",
       [](World& w) { write_header(w, "not a header"); }},
      {"files.damaged-header", "hole", "golden/qwen2",
       [](World& w) {
         write_header(w, R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}})");
       }},
      {"files.header-format", "no-metadata", "golden/qwen2",
       [](World& w) { w.edit_tensors([](TensorFile& f) { f.metadata = nullptr; }); }, true},
      {"files.header-format", "other", "golden/qwen2",
       [](World& w) { w.edit_tensors([](TensorFile& f) {
                        f.metadata = {{"format", "np"}};
                      }); },
       true,
       [](World& w) { w.edit_tensors([](TensorFile& f) {
                        f.metadata = {{"format", "mlx"}};
                      }); }},
      {"files.dangling-link", "readme", "golden/qwen2",
       [](World& w) {
         std::filesystem::create_symlink("../../blobs/0123", w.path("merged/README.md"));
       },
       false,
       [](World& w) {  // the Hub cache's layout: every file a link into blobs/
         std::filesystem::create_directories(w.path("blobs"));
         for (const char* name : {"config.json", "model.safetensors"}) {
           const std::string file = std::string("merged/") + name;
           std::filesystem::rename(w.path(file), w.path("blobs") / name);
           std::filesystem::create_symlink(std::string("../blobs/") + name, w.path(file));
         }
       }},
      {"index.unusable", "absolute", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         w.edit(kIndex, [](nlohmann::json& j) { j["weight_map"].front() = "/etc/passwd"; });
       }},
      {"index.unusable", "upward", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         w.edit(kIndex,
                [](nlohmann::json& j) { j["weight_map"].front() = "../base/model.safetensors"; });
       }},
      {"index.unusable", "no-map", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         w.write(kIndex, "{\"weight_map\": []}");
       }},
      {"index.disagrees", "stale-entry", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         w.edit(kIndex, [](nlohmann::json& j) {
           j["weight_map"].front() = "model-00002-of-00002.safetensors";
         });
       },
       true, [](World& w) { w.shard(3); }},
      {"index.disagrees", "forgotten-entry", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         w.edit(kIndex,
                [](nlohmann::json& j) { j["weight_map"].erase(j["weight_map"].begin().key()); });
       },
       true},
      {"index.disagrees", "shard-gone", "golden/qwen2",
       [](World& w) {
         w.shard(3);
         w.remove("merged/model-00002-of-00003.safetensors");
       }},
      {"index.disagrees", "in-two-shards", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         const std::string one = "merged/model-00001-of-00002.safetensors";
         const std::string name = first_tensor(w, one);
         w.edit_tensors([&](TensorFile& f) { f.add(name, "F16", {4}); },
                        "merged/model-00002-of-00002.safetensors");
       }},
      {"index.missing", "removed", "golden/qwen2",
       [](World& w) {
         w.shard(3);
         w.remove(kIndex);
       },
       true},
      {"index.missing", "one-of-one", "golden/qwen2",
       [](World& w) {
         w.shard(1);
         w.remove(kIndex);
       },
       true},
      {"index.missing", "not-whole", "golden/qwen2",
       [](World& w) {
         w.shard(3);
         w.remove(kIndex);
         w.remove("merged/model-00003-of-00003.safetensors");
       }},
      {"index.two-sets", "single-beside-shards", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         w.copy("base/model.safetensors", kSingle);
       }},
      {"index.stray-shard", "older-export", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         w.copy("base/model.safetensors", "merged/model-00001-of-00003.safetensors");
       },
       true},
      {"index.stray-shard", "beside-single", "golden/qwen2",
       [](World& w) { w.copy("base/model.safetensors", "merged/old.safetensors"); }, true,
       [](World& w) {  // a subfolder is never read
         w.write("merged/original/model.safetensors", w.text(kSingle));
       }},
      {"index.other-formats", "pickle", "golden/qwen2",
       [](World& w) { w.write("merged/pytorch_model.bin", "PK"); }, true,
       [](World& w) {  // the base ships it as well
         w.write("merged/pytorch_model.bin", "PK");
         w.write("base/pytorch_model.bin", "PK");
       }},
      {"index.other-formats", "consolidated", "golden/qwen2",
       [](World& w) { w.copy("base/model.safetensors", "merged/consolidated.safetensors"); }, true},
      {"index.total-size", "of-another-export", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         w.edit(kIndex, [](nlohmann::json& j) { j["metadata"]["total_size"] = 12; });
       },
       true,
       [](World& w) {  // absent is allowed
         w.shard(2);
         w.edit(kIndex, [](nlohmann::json& j) { j["metadata"].erase("total_size"); });
       }},
      {"index.shard-count", "two-of-three", "golden/qwen2",
       [](World& w) {
         w.shard(2);
         for (const char* part : {"1", "2"}) {
           const std::string name = std::string("merged/model-0000") + part + "-of-0000";
           std::filesystem::rename(w.path(name + "2.safetensors"), w.path(name + "3.safetensors"));
         }
         w.edit(kIndex, [](nlohmann::json& j) {
           for (auto& file : j["weight_map"]) {
             std::string renamed = file;
             renamed.replace(renamed.find("-of-00002"), 9, "-of-00003");
             file = renamed;
           }
         });
       }},
  };
  return cases;
}

}  // namespace mg::lint
