#include "harness/io/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "harness/io/json_file.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

bool is_name(std::string_view text) {
  return !text.empty() && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '@';
         });
}

// "org/name", perhaps with "@revision", or the address of its page: the part that the download
// command wants.
std::string hub_id(std::string_view text) {
  for (const std::string_view site :
       {"https://huggingface.co/", "http://huggingface.co/", "hf://"}) {
    if (starts_with(text, site)) {
      text.remove_prefix(site.size());
    }
  }
  while (ends_with(text, "/")) {
    text.remove_suffix(1);
  }
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos || !is_name(text.substr(0, slash)) ||
      !is_name(text.substr(slash + 1))) {
    return {};
  }
  return std::string(text);
}

std::string download_command(const std::string& id) {
  const std::size_t at = id.find('@');
  const std::string name = id.substr(0, at);
  const std::string revision = at == std::string::npos ? "" : " --revision " + id.substr(at + 1);
  return fmt::format("hf download {}{} --local-dir {} (huggingface-cli download in older versions)",
                     name, revision, name.substr(name.find('/') + 1));
}

[[noreturn]] void fail_absent(const fs::path& path, std::string_view what) {
  const std::string text = path.string();
  if (const std::string id = hub_id(text); !id.empty()) {
    throw Error(
        {.code = "folder.hub-id",
         .what = fmt::format("{} looks like the id of a repository on the Hugging Face Hub, "
                             "and no folder of that name is here",
                             text),
         .where = text,
         .expected = std::string(what),
         .actual = "nothing",
         .hint = fmt::format("mergegauge reads files and downloads nothing; fetch it first: {}",
                             download_command(id))});
  }
  throw Error(
      {.code = "folder.not-found",
       .what = "no such folder",
       .where = text,
       .expected = std::string(what),
       .actual = "nothing",
       .hint = starts_with(text, "~") ? "the shell did not expand ~: leave it unquoted" : ""});
}

[[noreturn]] void fail_is_file(const fs::path& path, std::string_view what) {
  const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const FileKind kind = file_kind(path.filename().string());
  throw Error(
      {.code = "folder.is-file",
       .what = "this is a file, a folder is needed",
       .where = path.string(),
       .expected = std::string(what),
       .actual = kind == FileKind::kGguf     ? "a GGUF file"
                 : kind == FileKind::kPickle ? "a PyTorch pickle"
                                             : "a file",
       .hint = fmt::format("give the folder that holds it, with its config: {}", parent.string())});
}

[[noreturn]] void fail_unreadable(const fs::path& path, std::string_view what,
                                  const std::error_code& error, std::string hint) {
  throw Error({.code = "folder.unreadable",
               .what = "the folder cannot be read",
               .where = path.string(),
               .expected = std::string(what),
               .actual = error.message(),
               .hint = std::move(hint)});
}

// models--org--name of the Hub's cache: the files are one level down, under their revision.
void refuse_cache_root(const fs::path& path, std::string_view what) {
  std::error_code ignored;
  const fs::path snapshots = path / "snapshots";
  if (!fs::is_directory(snapshots, ignored) || fs::exists(path / "config.json", ignored)) {
    return;
  }
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(snapshots, ignored)) {
    names.push_back(entry.path().string());
  }
  std::sort(names.begin(), names.end());
  throw Error({.code = "folder.hub-cache",
               .what = "this is the root of a Hub cache entry, not a model folder",
               .where = path.string(),
               .expected = std::string(what),
               .actual = "blobs, refs and snapshots",
               .hint = names.empty()
                           ? "its snapshots folder is empty: download the model again"
                           : fmt::format("give one of its snapshots: {}", fmt::join(names, ", "))});
}

FolderEntry describe(const fs::directory_entry& entry) {
  std::error_code ignored;
  FolderEntry described;
  described.name = entry.path().filename().string();
  described.kind = file_kind(described.name);
  described.is_link = entry.is_symlink(ignored);
  described.dangling = described.is_link && !entry.exists(ignored);
  described.is_folder = entry.is_directory(ignored);
  if (entry.is_regular_file(ignored)) {
    const std::uintmax_t bytes = entry.file_size(ignored);
    described.bytes = ignored ? 0 : bytes;
  }
  return described;
}

}  // namespace

bool has_entry(const std::vector<FolderEntry>& entries, std::string_view name) {
  return std::any_of(entries.begin(), entries.end(),
                     [&](const FolderEntry& entry) { return entry.name == name; });
}

FileKind file_kind(std::string_view name) {
  if (ends_with(name, ".safetensors.index.json")) {
    return FileKind::kShardIndex;
  }
  if (ends_with(name, ".safetensors")) {
    return starts_with(name, "adapter_model")  ? FileKind::kAdapterWeights
           : starts_with(name, "consolidated") ? FileKind::kConsolidated
                                               : FileKind::kSafetensors;
  }
  if (ends_with(name, ".json")) {
    return FileKind::kJson;
  }
  if (ends_with(name, ".gguf")) {
    return FileKind::kGguf;
  }
  // training_args.bin, optimizer.pt and the like are pickles without weights: not a model in
  // another format.
  const bool pickle = ends_with(name, ".pt") || ends_with(name, ".pth") ||
                      ends_with(name, ".ckpt") || ends_with(name, ".bin");
  for (const std::string_view start :
       {"training_args", "optimizer", "scheduler", "rng_state", "scaler"}) {
    if (pickle && starts_with(name, start)) {
      return FileKind::kOther;
    }
  }
  if (pickle) {
    return FileKind::kPickle;
  }
  if (ends_with(name, ".msgpack") || ends_with(name, ".h5") || ends_with(name, ".onnx")) {
    return FileKind::kOtherWeights;
  }
  return FileKind::kOther;
}

void require_folder(const fs::path& path, std::string_view what) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    fail_absent(path, what);
  }
  if (status.type() != fs::file_type::none && status.type() != fs::file_type::directory) {
    fail_is_file(path, what);
  }
  if (!error) {
    fs::directory_iterator(path, error);
  }
  if (error) {
    fail_unreadable(path, what, error, "give yourself read and search permission (chmod u+rx)");
  }
  refuse_cache_root(path, what);
}

std::vector<FolderEntry> list_folder(const fs::path& path, std::string_view what) {
  require_folder(path, what);
  std::vector<FolderEntry> entries;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(describe(*it));
  }
  // A failing increment leaves `it` at the end: without this a broken disk would shorten the list.
  if (error) {
    fail_unreadable(path, what, error, "the disk or the network share failed; read it again");
  }
  std::sort(entries.begin(), entries.end(), [](const FolderEntry& left, const FolderEntry& right) {
    return left.name < right.name;
  });
  return entries;
}

const FolderEntry* FolderScan::entry(std::string_view name) const {
  const auto it = std::find_if(entries.begin(), entries.end(), [&](const FolderEntry& candidate) {
    return candidate.name == name;
  });
  return it == entries.end() ? nullptr : &*it;
}

const ScannedShard* FolderScan::shard(std::string_view name) const {
  const auto it = std::find_if(shards.begin(), shards.end(), [&](const ScannedShard& candidate) {
    return candidate.name == name;
  });
  return it == shards.end() ? nullptr : &*it;
}

const nlohmann::json* FolderScan::json(std::string_view name) const {
  const auto it = std::find_if(jsons.begin(), jsons.end(), [&](const ScannedJson& candidate) {
    return candidate.name == name;
  });
  return it == jsons.end() || !it->value ? nullptr : &*it->value;
}

FolderScan scan_folder(const fs::path& path) {
  FolderScan scan;
  scan.path = path;
  scan.entries = list_folder(path, "a model or adapter folder");
  for (const FolderEntry& entry : scan.entries) {
    const bool weights = entry.kind == FileKind::kSafetensors ||
                         entry.kind == FileKind::kAdapterWeights ||
                         entry.kind == FileKind::kConsolidated;
    const bool config = entry.kind == FileKind::kShardIndex || entry.kind == FileKind::kJson;
    if (entry.is_folder || entry.name == "tokenizer.json" || entry.name == "vocab.json") {
      continue;
    }
    if (weights) {
      ScannedShard& shard = scan.shards.emplace_back();
      shard.name = entry.name;
      try {
        shard.file = SafetensorsFile::open(path / entry.name);
      } catch (const Error& error) {
        shard.problem = error.parts();
      }
    } else if (config) {
      ScannedJson& json = scan.jsons.emplace_back();
      json.name = entry.name;
      try {
        json.value = read_json(path / entry.name);
      } catch (const Error& error) {
        json.problem = error.parts();
      }
    }
  }
  return scan;
}

}  // namespace mg
