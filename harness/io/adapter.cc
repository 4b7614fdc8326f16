#include "harness/io/adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "harness/io/adapter_config.h"
#include "harness/io/adapter_parts.h"
#include "harness/io/folder.h"
#include "harness/io/gguf.h"
#include "harness/io/gguf_adapter.h"
#include "harness/io/gguf_config.h"
#include "harness/io/json_file.h"
#include "harness/io/problem_list.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::string_view kConfig = "adapter_config.json";
constexpr std::string_view kWeights = "adapter_model.safetensors";

[[noreturn]] void fail(std::string code, std::string what, const std::filesystem::path& folder,
                       std::string_view expected, std::string actual, std::string hint) {
  throw Error({.code = "adapter." + std::move(code),
               .what = std::move(what),
               .where = folder.string(),
               .expected = std::string(expected),
               .actual = std::move(actual),
               .hint = std::move(hint)});
}

// PEFT saves an adapter that is not called "default" one level down.
std::string subfolder_with_config(const std::filesystem::path& folder,
                                  const std::vector<FolderEntry>& entries) {
  for (const FolderEntry& entry : entries) {
    std::error_code ignored;
    if (entry.is_folder && std::filesystem::exists(folder / entry.name / kConfig, ignored)) {
      return (folder / entry.name).string();
    }
  }
  return {};
}

[[noreturn]] void fail_no_config(const std::filesystem::path& folder,
                                 const std::vector<FolderEntry>& entries) {
  if (const std::string below = subfolder_with_config(folder, entries); !below.empty()) {
    fail("subfolder", "the adapter lies one folder down", folder, kConfig, below,
         fmt::format("give that folder: --adapter {}", below));
  }
  if (has_entry(entries, "config.json")) {
    fail("is-model", "this is a model, not an adapter", folder, kConfig, "config.json",
         "give it as --base or --merged");
  }
  fail("no-config", "the folder has no adapter_config.json", folder, kConfig, "nothing",
       "rank and alpha stand there, and weights alone cannot be merged: fetch it from where the "
       "adapter came from");
}

std::string pickle_command(const std::filesystem::path& folder, const std::string& name) {
  return fmt::format(
      "convert it first: python -c 'import torch, safetensors.torch as s; "
      "d = torch.load(\"{0}/{1}\", map_location=\"cpu\", weights_only=True); "
      "s.save_file({{k: v.contiguous() for k, v in d.items()}}, \"{0}/{2}\", "
      "metadata={{\"format\": \"pt\"}})'",
      folder.string(), name, kWeights);
}

[[noreturn]] void fail_no_weights(const std::filesystem::path& folder,
                                  const std::vector<FolderEntry>& entries) {
  for (const FolderEntry& entry : entries) {
    if (entry.kind == FileKind::kPickle && entry.name.starts_with("adapter_model")) {
      fail("pickle", "the weights are in a PyTorch pickle, which could run code when read", folder,
           kWeights, entry.name, pickle_command(folder, entry.name));
    }
    if (entry.name == "adapters.safetensors") {
      fail("mlx", "this is an adapter of MLX, whose names and layout differ", folder, kWeights,
           entry.name, "fuse it with mlx_lm.fuse and compare the merged model");
    }
    if (entry.kind == FileKind::kAdapterWeights) {
      fail("other-name", "the weights file has a name that PEFT does not look for", folder,
           kWeights, entry.name,
           "adapters in several files are not supported: save the adapter again in one");
    }
    if (entry.kind == FileKind::kGguf) {
      fail("gguf", "the weights are in a GGUF file", folder, kWeights, entry.name,
           fmt::format("give that file: --adapter {}", (folder / entry.name).string()));
    }
  }
  fail("no-weights", "the folder has no adapter_model.safetensors", folder, kWeights, "nothing",
       "the export or download did not finish: fetch or export the adapter again");
}

// One problem is its own error; several share one, each on a line.
[[noreturn]] void fail_problems(const std::vector<ErrorParts>& problems,
                                const std::filesystem::path& file) {
  if (problems.size() == 1) {
    throw Error(problems.front());
  }
  const bool same_code =
      std::all_of(problems.begin(), problems.end(),
                  [&](const ErrorParts& parts) { return parts.code == problems.front().code; });
  const std::string prefix = file.string() + ", ";
  std::vector<std::string> lines;
  for (const ErrorParts& parts : problems) {
    const std::string subject =
        parts.where.starts_with(prefix) ? parts.where.substr(prefix.size()) + ": " : "";
    lines.push_back(fmt::format("{}{} (expected {}, found {})", subject, parts.what, parts.expected,
                                parts.actual));
  }
  throw Error({.code = same_code ? problems.front().code : "adapter.problems",
               .what = "the adapter's tensors do not fit its config",
               .where = file.string(),
               .expected = {},
               .actual = list_problems(lines),
               .hint = problems.front().hint});
}

bool is_gguf_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return path.extension() == ".gguf" && std::filesystem::is_regular_file(path, ignored);
}

}  // namespace

Adapter Adapter::open(const std::filesystem::path& folder, const AdapterOptions& options) {
  if (is_gguf_file(folder)) {
    return open_gguf(folder, options);
  }
  const std::vector<FolderEntry> entries = list_folder(folder, "an adapter folder");
  if (!has_entry(entries, kConfig)) {
    fail_no_config(folder, entries);
  }
  Adapter adapter;
  adapter.folder_ = folder;
  const std::filesystem::path config_path = folder / kConfig;
  adapter.config_ = parse_adapter_config(
      parse_ordered_json(read_text(config_path), config_path.string()), config_path.string());
  if (!has_entry(entries, kWeights)) {
    fail_no_weights(folder, entries);
  }
  adapter.file_ = std::make_shared<const SafetensorsFile>(SafetensorsFile::open(folder / kWeights));
  adapter.take(collect_parts(adapter.config_, *adapter.file_), options);
  return adapter;
}

Adapter Adapter::open_gguf(const std::filesystem::path& path, const AdapterOptions& options) {
  Adapter adapter;
  adapter.folder_ = path;
  adapter.gguf_ = std::make_shared<const GgufFile>(GgufFile::open(path));
  GgufAdapterPlan plan = plan_gguf_adapter(adapter.gguf_->header(), path.string());
  adapter.config_ = std::move(plan.config);
  plan.config = adapter.config_;
  const auto numbers = std::make_shared<GgufAdapterNumbers>();
  adapter.numbers_ = numbers;
  adapter.take(read_gguf_adapter(std::move(plan), *adapter.gguf_, *numbers), options);
  return adapter;
}

void Adapter::take(AdapterParts parts, const AdapterOptions& options) {
  if (!parts.problems.empty() && !options.collect_problems) {
    fail_problems(parts.problems, files().back());
  }
  modules_ = std::move(parts.modules);
  replacements_ = std::move(parts.replacements);
  unrecognised_ = std::move(parts.unrecognised);
  problems_ = std::move(parts.problems);
  name_in_file_ = std::move(parts.name_in_file);
}

std::vector<std::filesystem::path> Adapter::files() const {
  if (gguf_) {
    return {folder_};
  }
  return {folder_ / kConfig, folder_ / kWeights};
}

void Adapter::check_intact() const {
  gguf_ ? gguf_->file().check_intact() : file_->file().check_intact();
}

std::vector<AdapterTensor> Adapter::tensors() const {
  std::vector<AdapterTensor> list;
  if (gguf_) {
    for (const GgufTensor& tensor : gguf_->header().tensors) {
      list.push_back({.dtype = std::string(tensor.format->name),
                      .elements = tensor.rows() * tensor.row_length(),
                      .bytes = tensor.bytes});
    }
    return list;
  }
  for (const SafetensorsRecord& record : file_->header().records) {
    const TensorView view = file_->view(record);
    list.push_back({.dtype = std::string(dtype_name(view.dtype)),
                    .elements = view.elements(),
                    .bytes = view.bytes});
  }
  return list;
}

bool is_gguf_adapter(const std::filesystem::path& path) {
  return is_gguf_file(path) &&
         gguf_text(GgufFile::open(path).header(), "general.type") == "adapter";
}

}  // namespace mg
