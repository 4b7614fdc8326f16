#include "harness/audit/merge_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/io/digest.h"
#include "harness/io/folder.h"
#include "harness/io/json_file.h"
#include "kernels/core/dequantise.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

using Json = nlohmann::ordered_json;

std::string_view config_name(DType dtype) {
  return dtype == DType::kF16 ? "float16" : dtype == DType::kBF16 ? "bfloat16" : "float32";
}

// Names, or prefixes ending in '*', of what a served model needs beside its weights.
constexpr auto kSideFiles = std::to_array<std::string_view>(
    {"added_tokens.json", "chat_template*", "generation_config.json", "image_processor*",
     "merges.txt", "preprocessor_config.json", "processor_config.json", "special_tokens_map.json",
     "spiece.model", "tekken.json", "tokenizer*", "video_preprocessor_config.json", "vocab*",
     "sentencepiece*", "LICENSE*", "NOTICE*"});
// What the adapter was trained with wins; the rest is the model's.
constexpr auto kTrainedWith = std::to_array<std::string_view>(
    {"added_tokens.json", "chat_template*", "merges.txt", "special_tokens_map.json", "spiece.model",
     "tekken.json", "tokenizer*", "vocab*", "sentencepiece*"});

template <std::size_t kCount>
bool matches(const std::array<std::string_view, kCount>& patterns, const std::string& name) {
  return std::any_of(patterns.begin(), patterns.end(), [&](std::string_view pattern) {
    return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1))
                                  : name == pattern;
  });
}

bool is_side_file(const FolderEntry& entry) {
  const bool weights = entry.kind == FileKind::kPickle || entry.kind == FileKind::kSafetensors ||
                       entry.kind == FileKind::kGguf || entry.kind == FileKind::kOtherWeights ||
                       entry.kind == FileKind::kShardIndex;
  const bool code = entry.name.ends_with(".py") || entry.name.ends_with(".tiktoken");
  return !entry.is_folder && !entry.dangling && !weights &&
         (code || matches(kSideFiles, entry.name));
}

[[noreturn]] void cannot_write(const std::filesystem::path& path, const std::string& why) {
  throw Error({.code = "output.cannot-write",
               .what = "cannot write a file of the merge",
               .where = path.string(),
               .expected = {},
               .actual = why,
               .hint = "check the space and the permissions there"});
}

void copy_one(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::copy_file(from, to, error);
  if (error) {
    cannot_write(to, error.message());
  }
  // The Hub cache keeps its files read-only; the copy belongs to the user.
  std::filesystem::permissions(to, std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add, error);
}

/// Walks every object of the config; `path` names it.
template <typename Visit>
void for_each_object(Json& value, const std::string& path, const Visit& visit) {
  if (!value.is_object()) {
    return;
  }
  visit(value, path);
  for (auto& [key, child] : value.items()) {
    for_each_object(child, path.empty() ? key : path + "." + key, visit);
  }
}

std::string joined(const std::string& path, const std::string& key) {
  return path.empty() ? key : path + "." + key;
}

Json file_json(const FileDigest& digest, const std::filesystem::path& folder) {
  return {{"path", digest.path.lexically_relative(folder).string()},
          {"bytes", digest.bytes},
          {"sha256", digest.sha256}};
}

Json folder_json(const std::filesystem::path& folder,
                 const std::vector<std::filesystem::path>& files, ThreadPool& pool) {
  Json list = Json::array();
  for (const FileDigest& digest : digest_files(files, pool)) {
    list.push_back(file_json(digest, folder));
  }
  return {{"folder", folder.string()}, {"files", std::move(list)}};
}

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

Json tensor_json(const MergeTensor& tensor) {
  Json json = {{"name", tensor.name}, {"dtype", std::string(dtype_name(tensor.dtype))}};
  if (tensor.delta != nullptr) {
    json["delta"] = {{"module", tensor.delta->module->module},
                     {"rank", tensor.delta->module->rank},
                     {"scale", tensor.delta->module->scale},
                     {"transposed", tensor.delta->transposed},
                     {"dora", !tensor.delta->module->magnitude.empty()}};
  }
  if (tensor.bias_delta != nullptr) {
    json["bias_delta"] = {{"module", tensor.bias_delta->module->module},
                          {"scale", tensor.bias_delta->module->scale}};
  }
  if (tensor.rows != nullptr) {
    json["rows_from_adapter"] = tensor.rows->rows.size();
  }
  if (is_dequantised(tensor)) {
    json["dequantised_from"] = tensor.base->quantised->format;
  }
  if (tensor.replaced) {
    json["replaced_by_adapter"] = true;
  }
  if (tensor.added) {
    json["added"] = true;
  }
  return json;
}

bool is_changed(const MergeTensor& tensor) {
  return tensor.delta != nullptr || tensor.bias_delta != nullptr || tensor.rows != nullptr ||
         tensor.replaced || tensor.added || tensor.dtype != tensor.start.dtype ||
         is_dequantised(tensor);
}

}  // namespace

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) {
    cannot_write(path, std::strerror(errno));
  }
}

std::vector<std::string> write_config(const Checkpoint& base, const MergePlan& plan,
                                      const MergeOptions& options,
                                      const std::filesystem::path& folder) {
  const std::filesystem::path source = base.folder() / "config.json";
  Json config = parse_ordered_json(read_text(source), source.string());
  std::vector<std::string> changes;
  for_each_object(config, "", [&](Json& level, const std::string& path) {
    if (level.contains("quantization_config")) {
      level.erase("quantization_config");
      changes.push_back(fmt::format("removed {}: the weights are not quantised",
                                    joined(path, "quantization_config")));
    }
    for (const char* key : {"dtype", "torch_dtype"}) {
      const auto found = level.find(key);
      if (options.dtype && found != level.end() && found->is_string() &&
          found->get<std::string>() != config_name(*options.dtype)) {
        changes.push_back(fmt::format("{}: {} -> {}", joined(path, key), found->get<std::string>(),
                                      config_name(*options.dtype)));
        *found = std::string(config_name(*options.dtype));
      }
    }
    const auto tie = level.find("tie_word_embeddings");
    if (plan.untied && tie != level.end() && *tie == true) {
      *tie = false;
      changes.push_back(fmt::format("{}: true -> false: head and embedding differ",
                                    joined(path, "tie_word_embeddings")));
    }
  });
  if (plan.untied && !config.contains("tie_word_embeddings")) {
    config["tie_word_embeddings"] = false;
    changes.emplace_back("tie_word_embeddings: absent -> false: head and embedding differ");
  }
  write_text(folder / "config.json", config.dump(2) + "\n");
  return changes;
}

/// What lies beside the weights; nothing of what lies beside a GGUF file belongs to it.
std::vector<FolderEntry> adapter_entries(const Adapter& adapter) {
  return adapter.is_gguf() ? std::vector<FolderEntry>()
                           : list_folder(adapter.folder(), "an adapter folder");
}

std::vector<SideFile> copy_side_files(const Checkpoint& base, const Adapter& adapter,
                                      const std::filesystem::path& folder) {
  std::vector<SideFile> copied;
  for (const FolderEntry& entry : adapter_entries(adapter)) {
    if (is_side_file(entry) && matches(kTrainedWith, entry.name)) {
      copy_one(adapter.folder() / entry.name, folder / entry.name);
      copied.push_back({entry.name, "adapter"});
    }
  }
  // A tokenizer is one thing in several files: the base's must not be mixed into the adapter's.
  const bool own_tokenizer = std::any_of(copied.begin(), copied.end(), [](const SideFile& file) {
    return file.name == "tokenizer.json" || file.name == "tokenizer.model" ||
           file.name == "vocab.json";
  });
  for (const FolderEntry& entry : list_folder(base.folder(), "a model folder")) {
    const bool tokenizer =
        matches(kTrainedWith, entry.name) && !entry.name.starts_with("chat_template");
    const bool present = std::filesystem::exists(folder / entry.name);
    if (is_side_file(entry) && !present && !(own_tokenizer && tokenizer)) {
      copy_one(base.folder() / entry.name, folder / entry.name);
      copied.push_back({entry.name, "base"});
    }
  }
  std::sort(copied.begin(), copied.end(),
            [](const SideFile& x, const SideFile& y) { return x.name < y.name; });
  return copied;
}

namespace {

/// What became of a base stored as codes; null for any other.
Json dequantised_json(const Checkpoint& base, const MergeSummary& summary) {
  if (base.quantised().empty()) {
    return nullptr;
  }
  std::set<std::string> formats;
  bool by_row = false;
  for (const auto& tensor : base.quantised()) {
    formats.insert(tensor->format + " (" + tensor->detail + ")");
    by_row = by_row || (tensor->four_bit() != nullptr && tensor->four_bit()->blocks_by_row);
  }
  return {{"weights", summary.dequantised},
          {"formats", formats},
          {"arithmetic", "codes decoded to FP32 as bitsandbytes does, then merged"},
          {"block_order", by_row ? "row" : "flat"}};
}

}  // namespace

void write_provenance(const Checkpoint& base, const Adapter& adapter, const MergePlan& plan,
                      const MergeOptions& options, const MergeSummary& summary,
                      const std::vector<SideFile>& side_files, const std::filesystem::path& folder,
                      ThreadPool& pool) {
  std::vector<std::filesystem::path> base_files = {base.folder() / "config.json"};
  for (const SafetensorsFile& shard : base.shards()) {
    base_files.push_back(shard.path());
  }
  Json tensors = Json::array();
  for (const MergeTensor& tensor : plan.tensors) {
    if (is_changed(tensor)) {
      tensors.push_back(tensor_json(tensor));
    }
  }
  Json side = Json::array();
  for (const SideFile& file : side_files) {
    side.push_back({{"path", file.name}, {"from", file.origin}});
  }
  Json output = folder_json(folder, files_in(folder), pool);
  output.erase("folder");  // its final name is the user's business
  const Json provenance = {
      {"schema", "mergegauge.merge/1"},
      {"tool", options.tool},
      {"command", options.command},
      {"arithmetic", "base + delta in FP64, rounded once to nearest even"},
      {"base", folder_json(base.folder(), base_files, pool)},
      {"base_dequantised", dequantised_json(base, summary)},
      {"adapter", folder_json(adapter.folder(), adapter.files(), pool)},
      {"output", std::move(output)},
      {"tensors",
       {{"written", summary.tensors}, {"merged", summary.merged}, {"replaced", summary.replaced}}},
      {"changed_tensors", std::move(tensors)},
      {"config_changes", summary.config_changes},
      {"side_files", std::move(side)},
  };
  write_text(folder / "mergegauge_merge.json", provenance.dump(1) + "\n");
}

}  // namespace mg
