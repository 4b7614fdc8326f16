#include "harness/lint/context.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "harness/io/gguf_config.h"
#include "harness/model/names.h"
#include "harness/model/quantised_names.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

// Where the text model's keys stand in a multimodal config, outermost first.
constexpr auto kTextParts = std::to_array<std::string_view>(
    {"text_config", "llm_config", "language_config", "thinker_config"});

void walk(const nlohmann::json& object, const std::vector<std::string>& path,
          std::vector<ConfigLevel>& out) {
  out.push_back({path, &object});
  for (const auto& [key, child] : object.items()) {
    if (child.is_object()) {
      std::vector<std::string> below = path;
      below.push_back(key);
      walk(child, below, out);
    }
  }
}

void read_index(ModelFolder& folder) {
  for (const ScannedJson& json : folder.scan.jsons) {
    if (json.name != kWeightsIndex) {
      continue;
    }
    if (!json.value) {
      folder.index_problem = json.problem;
      return;
    }
    try {
      folder.index = parse_shard_index(*json.value, json.name);
    } catch (const Error& error) {
      folder.index_problem = error.parts();
    }
  }
}

void choose_weight_files(ModelFolder& folder) {
  if (folder.index) {
    folder.weight_files = folder.index->files();
  } else if (folder.has_file(kWeightsFile)) {
    folder.weight_files = {std::string(kWeightsFile)};
  } else {
    // Shards whose index is missing or useless: what they hold is known all the same.
    for (const ScannedShard& shard : folder.scan.shards) {
      if (file_kind(shard.name) == FileKind::kSafetensors) {
        folder.weight_files.push_back(shard.name);
      }
    }
  }
}

void read_headers(ModelFolder& folder) {
  for (const std::string& name : folder.weight_files) {
    if (const ScannedShard* shard = folder.scan.shard(name)) {
      add_tensors(*shard, folder.tensors);
    }
  }
  std::sort(folder.tensors.begin(), folder.tensors.end(),
            [](const HeaderTensor& left, const HeaderTensor& right) {
              return std::tie(left.name, left.file) < std::tie(right.name, right.file);
            });
  for (std::size_t i = 0; i < folder.tensors.size(); ++i) {
    folder.by_canonical.emplace(folder.tensors[i].canonical, i);
  }
}

void read_architecture(ModelFolder& folder) {
  const nlohmann::json* json = folder.json("config.json");
  if (json == nullptr || !json->is_object()) {
    return;
  }
  try {
    folder.arch = &find_architecture(*json, "config.json");
  } catch (const Error&) {
    return;  // not in the table: rules compare with the base instead
  }
  try {
    folder.config = folder.arch->read_config(*json, "config.json");
  } catch (const Error& error) {
    folder.config_error = error.parts();
  }
}

void open_strictly(ModelFolder& folder) {
  try {
    folder.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(folder.scan.path));
    if (folder.config) {
      folder.resolved = resolve_model(*folder.checkpoint);
    }
  } catch (const Error&) {
    // Files and index disagree, or the config asks for the impossible: other rules say so.
  }
}

}  // namespace

std::string ConfigLevel::key(std::string_view name) const {
  std::string text;
  for (const std::string& part : path) {
    text += part + ".";
  }
  return text + std::string(name);
}

const nlohmann::json* ConfigLevel::find(std::string_view name) const {
  const auto it = object->find(name);
  return it == object->end() ? nullptr : &*it;
}

std::vector<std::string> ConfigLevel::path_to(std::string_view name) const {
  std::vector<std::string> full = path;
  full.emplace_back(name);
  return full;
}

void add_tensors(const ScannedShard& shard, std::vector<HeaderTensor>& tensors) {
  if (!shard.file) {
    return;
  }
  for (const SafetensorsRecord& record : shard.file->header().records) {
    tensors.push_back({.name = record.name,
                       .canonical = canonical_name(record.name),
                       .dtype = record.dtype,
                       .shape = record.shape,
                       .bytes = record.end - record.begin,
                       .file = shard.name,
                       .companion = quantised_name(record.name).has_value()});
  }
}

bool ModelFolder::has_file(std::string_view name) const {
  const FolderEntry* entry = scan.entry(name);
  return entry != nullptr && !entry->is_folder && !entry->dangling;
}

std::vector<ConfigLevel> ModelFolder::levels() const {
  std::vector<ConfigLevel> all;
  const nlohmann::json* root = json("config.json");
  if (root != nullptr && root->is_object()) {
    walk(*root, {}, all);
  }
  return all;
}

std::vector<ConfigLevel> ModelFolder::text_levels() const {
  std::vector<ConfigLevel> found;
  const nlohmann::json* root = json("config.json");
  if (root == nullptr || !root->is_object()) {
    return found;
  }
  found.push_back({{}, root});
  for (const std::string_view part : kTextParts) {
    const auto it = root->find(part);
    if (it == root->end() || !it->is_object()) {
      continue;
    }
    if (part != "thinker_config") {
      found.push_back({{std::string(part)}, &*it});
    } else if (const auto text = it->find("text_config"); text != it->end() && text->is_object()) {
      found.push_back({{std::string(part), "text_config"}, &*text});
    }
  }
  return found;
}

const nlohmann::json* ModelFolder::effective(std::string_view key) const {
  const std::vector<ConfigLevel> found = text_levels();
  for (auto level = found.rbegin(); level != found.rend(); ++level) {
    if (const nlohmann::json* value = level->find(key); value != nullptr && !value->is_null()) {
      return value;
    }
  }
  return nullptr;
}

std::string ModelFolder::model_type() const {
  const nlohmann::json* root = json("config.json");
  if (root == nullptr || !root->is_object()) {
    return {};
  }
  const auto it = root->find("model_type");
  return it != root->end() && it->is_string() ? it->get<std::string>() : std::string();
}

const ModelConfig* ModelFolder::arithmetic() const {
  return config && !config->sizes_only ? &*config : nullptr;
}

const HeaderTensor* ModelFolder::find(std::string_view canonical) const {
  const auto it = by_canonical.find(std::string(canonical));
  return it == by_canonical.end() ? nullptr : &tensors[it->second];
}

bool ModelFolder::has_companions() const {
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const HeaderTensor& tensor) { return tensor.companion; });
}

bool ModelFolder::plain() const {
  return std::none_of(tensors.begin(), tensors.end(), [](const HeaderTensor& tensor) {
    return tensor.companion || (tensor.shape.size() >= 2 && !is_plain(tensor.dtype));
  });
}

std::optional<DType> ModelFolder::majority_dtype() const {
  std::map<DType, std::uint64_t> bytes;
  for (const HeaderTensor& tensor : tensors) {
    if (is_plain(tensor.dtype) && !tensor.companion) {
      bytes[tensor.dtype] += tensor.bytes;
    }
  }
  const auto most = std::max_element(
      bytes.begin(), bytes.end(),
      [](const auto& left, const auto& right) { return left.second < right.second; });
  return most == bytes.end() ? std::nullopt : std::optional(most->first);
}

std::uint64_t ModelFolder::tensor_bytes() const {
  std::uint64_t bytes = 0;
  for (const HeaderTensor& tensor : tensors) {
    bytes += tensor.bytes;
  }
  return bytes;
}

bool AdapterFolder::flag(std::string_view key) const {
  if (config() == nullptr || !config()->is_object()) {
    return false;
  }
  const auto it = config()->find(key);
  return it != config()->end() && it->is_boolean() && it->get<bool>();
}

ServedGguf open_served_gguf(const std::filesystem::path& path) {
  ServedGguf out{.name = path.filename().string(),
                 .file = GgufFile::open(path),
                 .config = std::nullopt,
                 .config_error = std::nullopt};
  try {
    const nlohmann::json config = gguf_config(out.file);
    out.config = find_architecture(config, out.name).read_config(config, out.name);
  } catch (const Error& error) {
    out.config_error = error.parts();
  }
  return out;
}

ModelFolder open_model_folder(const std::filesystem::path& folder, std::string role) {
  ModelFolder opened;
  opened.role = std::move(role);
  opened.scan = scan_folder(folder);
  read_index(opened);
  choose_weight_files(opened);
  read_headers(opened);
  opened.tokenizer = tokenizer_facts(opened.scan);
  read_architecture(opened);
  open_strictly(opened);
  return opened;
}

namespace {

// Under the names that PEFT gives them, which the rules know.
void add_pairs(const Adapter& adapter, std::vector<HeaderTensor>& tensors) {
  for (const AdapterModule& module : adapter.modules()) {
    const bool embedding = module.kind == LowRankKind::kEmbedding;
    for (const bool a : {true, false}) {
      const TensorView& view = a ? module.a : module.b;
      HeaderTensor& tensor = tensors.emplace_back();
      tensor.name =
          fmt::format("base_model.model.{}.lora_{}{}{}", module.module,
                      embedding ? "embedding_" : "", a ? 'A' : 'B', embedding ? "" : ".weight");
      tensor.canonical = canonical_name(tensor.name);
      tensor.dtype = view.dtype;
      tensor.shape = view.shape;
      tensor.bytes = view.bytes;
      tensor.file = adapter.folder().filename().string();
    }
  }
}

}  // namespace

AdapterFolder open_adapter_folder(const std::filesystem::path& folder, const ModelFolder* base) {
  AdapterFolder opened;
  if (folder.extension() == ".gguf" && std::filesystem::is_regular_file(folder)) {
    opened.scan.path = folder;  // one file: no config, no tokenizer
  } else {
    opened.scan = scan_folder(folder);
  }
  opened.tokenizer = tokenizer_facts(opened.scan);
  if (const ScannedShard* shard = opened.scan.shard("adapter_model.safetensors")) {
    add_tensors(*shard, opened.tensors);
  }
  try {
    opened.adapter =
        std::make_unique<Adapter>(Adapter::open(folder, AdapterOptions{.collect_problems = true}));
    if (opened.adapter->is_gguf()) {
      add_pairs(*opened.adapter, opened.tensors);
    }
    if (base != nullptr && base->checkpoint) {
      opened.attached = attach(*opened.adapter, *base->checkpoint);
    }
  } catch (const Error& error) {
    opened.problem = error.parts();
  }
  return opened;
}

}  // namespace mg::lint
