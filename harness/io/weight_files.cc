#include "harness/io/weight_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <regex>
#include <utility>

#include "kernels/core/error.h"

namespace mg {
namespace {

std::vector<std::string> names_of(const std::vector<FolderEntry>& entries, FileKind kind) {
  std::vector<std::string> names;
  for (const FolderEntry& entry : entries) {
    if (entry.kind == kind && !entry.is_folder) {
      names.push_back(entry.name);
    }
  }
  return names;
}

[[noreturn]] void fail(std::string code, std::string what, const std::filesystem::path& folder,
                       std::string actual, std::string hint) {
  throw Error({.code = "checkpoint." + std::move(code),
               .what = std::move(what),
               .where = folder.string(),
               .expected = "model.safetensors, or shards with model.safetensors.index.json",
               .actual = std::move(actual),
               .hint = std::move(hint)});
}

std::string resave_command(const std::string& folder, std::string_view extra) {
  return fmt::format(
      "convert it first: python -c 'from transformers import AutoModelForCausalLM as M; "
      "M.from_pretrained(\"{0}\"{1}, dtype=\"auto\").save_pretrained(\"{0}-safetensors\")'",
      folder, extra);
}

// "model-00002-of-00005.safetensors" -> 2, 5
std::optional<std::pair<int, int>> shard_number(const std::string& name) {
  static const std::regex pattern(R"(.*-(\d{1,6})-of-(\d{1,6})\.safetensors)");
  std::smatch match;
  if (!std::regex_match(name, match, pattern)) {
    return std::nullopt;
  }
  return std::pair{std::stoi(match[1]), std::stoi(match[2])};
}

[[noreturn]] void fail_shards_without_index(const std::filesystem::path& folder,
                                            const std::vector<std::string>& shards) {
  int total = 0;
  std::vector<int> present;
  for (const std::string& name : shards) {
    if (const auto number = shard_number(name)) {
      present.push_back(number->first);
      total = std::max(total, number->second);
    }
  }
  std::vector<int> missing;
  for (int i = 1; i <= total; ++i) {
    if (std::find(present.begin(), present.end(), i) == present.end()) {
      missing.push_back(i);
    }
  }
  const std::string hint =
      missing.empty()
          ? "`mergegauge lint --fix` writes the index anew from the shards' headers"
          : fmt::format("shard {} of {} is missing too: download or export the model again",
                        fmt::join(missing, ", "), total);
  fail("no-index", "the weights are in shards and their index is missing", folder,
       fmt::format("{} without {}", fmt::join(shards, ", "), kWeightsIndex), hint);
}

[[noreturn]] void fail_other_safetensors(const std::filesystem::path& folder,
                                         const std::vector<std::string>& names) {
  if (std::any_of(names.begin(), names.end(),
                  [](const std::string& name) { return shard_number(name).has_value(); })) {
    fail_shards_without_index(folder, names);
  }
  const std::string hint = names.size() == 1
                               ? fmt::format("if it is the whole model: mv {0}/{1} {0}/{2}",
                                             folder.string(), names.front(), kWeightsFile)
                               : "loaders would not know which to read: export the model again";
  fail("other-name", "the safetensors files here have names that loaders do not look for", folder,
       fmt::format("{}", fmt::join(names, ", ")), hint);
}

[[noreturn]] void fail_no_safetensors(const std::filesystem::path& folder,
                                      const std::vector<FolderEntry>& entries) {
  const std::string name = folder.string();
  if (has_entry(entries, "adapter_config.json")) {
    fail("is-adapter", "this is an adapter, not a model", folder, "adapter_config.json",
         "give it as --adapter, and the model it was trained on as --base");
  }
  if (const auto files = names_of(entries, FileKind::kConsolidated); !files.empty()) {
    fail("consolidated", "the weights are in Mistral's own format, whose tensor names differ",
         folder, fmt::format("{}", fmt::join(files, ", ")),
         "download the Hugging Face form of the model, or convert it with "
         "transformers/models/mistral/convert_mistral_weights_to_hf.py");
  }
  if (const auto files = names_of(entries, FileKind::kGguf); !files.empty()) {
    fail("gguf", "the weights are in a GGUF file", folder,
         fmt::format("{}", fmt::join(files, ", ")),
         resave_command(name, fmt::format(", gguf_file=\"{}\"", files.front())));
  }
  if (const auto files = names_of(entries, FileKind::kPickle); !files.empty()) {
    const bool meta = files.front().rfind("consolidated", 0) == 0;
    fail("pickle", "the weights are in a PyTorch pickle, which could run code when read", folder,
         fmt::format("{}", fmt::join(files, ", ")),
         meta ? fmt::format(
                    "convert it first: python -m transformers.models.llama."
                    "convert_llama_weights_to_hf --input_dir {0} --output_dir {0}-safetensors",
                    name)
              : resave_command(name, ""));
  }
  if (const auto files = names_of(entries, FileKind::kOtherWeights); !files.empty()) {
    fail("other-format", "the weights are in another framework's format", folder,
         fmt::format("{}", fmt::join(files, ", ")),
         "export the model with save_pretrained from PyTorch");
  }
  fail("no-weights", "the folder holds no weights", folder,
       entries.empty() ? "an empty folder" : fmt::format("other files ({})", entries.size()),
       "the export or download did not finish, or this is another folder than you think");
}

}  // namespace

WeightFiles find_weight_files(const std::filesystem::path& folder,
                              const std::vector<FolderEntry>& entries) {
  const bool single = has_entry(entries, kWeightsFile);
  const bool index = has_entry(entries, kWeightsIndex);
  if (index) {
    // With both, transformers reads the single file and vLLM the index; Checkpoint::open lets it
    // pass when the index names that very file.
    return {.index = std::string(kWeightsIndex), .files = {}};
  }
  if (single) {
    return {.index = {}, .files = {std::string(kWeightsFile)}};
  }
  const std::vector<std::string> others = names_of(entries, FileKind::kSafetensors);
  if (!others.empty()) {
    fail_other_safetensors(folder, others);
  }
  fail_no_safetensors(folder, entries);
}

}  // namespace mg
