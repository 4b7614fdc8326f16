#include "harness/lint/weight_edit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/io/safetensors.h"
#include "harness/io/safetensors_writer.h"
#include "harness/lint/replace_file.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

namespace fs = std::filesystem;

struct Piece {
  std::string name;  // in the new file
  TensorView view;
};

/// One weight file as it is to be.
struct NewFile {
  std::string file;
  std::vector<Piece> pieces;
  std::map<std::string, std::string> metadata;
  bool renamed = false;  // names change, so the index has to change with it
};

const SafetensorsFile* opened(const FolderScan& scan, const std::string& name) {
  const ScannedShard* shard = scan.shard(name);
  return shard == nullptr || !shard->file ? nullptr : &*shard->file;
}

/// The bytes of a tensor of base or adapter.
Piece taken(const Context& context, const Edit& edit) {
  const FolderScan& scan = edit.from == Source::kBase ? context.base->scan : context.adapter->scan;
  for (const ScannedShard& shard : scan.shards) {
    if (!shard.file) {
      continue;
    }
    for (const SafetensorsRecord& record : shard.file->header().records) {
      if (record.name == edit.name) {
        return {edit.to, shard.file->view(record)};
      }
    }
  }
  MG_CHECK(false, "an edit takes a tensor that is not there: " + edit.name);
}

std::vector<NewFile> new_files(const Context& context, const std::vector<Edit>& edits) {
  std::map<std::string, std::string> names;  // "" drops
  std::set<std::string> formats;
  std::vector<Piece> added;
  for (const Edit& edit : edits) {
    switch (edit.kind) {
      case Edit::Kind::kRenameTensor:
        names[edit.name] = edit.to;
        break;
      case Edit::Kind::kDropTensor:
        names[edit.name] = "";
        break;
      case Edit::Kind::kAddTensor:
        added.push_back(taken(context, edit));
        break;
      case Edit::Kind::kSetFormat:
        formats.insert(edit.file);
        break;
      default:
        break;
    }
  }
  std::vector<NewFile> files;
  for (const std::string& name : context.merged.weight_files) {
    const SafetensorsFile* old = opened(context.merged.scan, name);
    if (old == nullptr) {
      continue;
    }
    NewFile file = {.file = name, .pieces = {}, .metadata = old->header().metadata};
    bool changed = formats.contains(name);
    for (const SafetensorsRecord& record : old->header().records) {
      const auto it = names.find(record.name);
      file.renamed |= it != names.end();
      if (it == names.end() || !it->second.empty()) {
        file.pieces.push_back({it == names.end() ? record.name : it->second, old->view(record)});
      }
    }
    if (name == context.merged.weight_files.back() && !added.empty()) {
      file.pieces.insert(file.pieces.end(), added.begin(), added.end());
      file.renamed = true;
    }
    if (changed || file.renamed) {
      file.metadata["format"] = "pt";
      files.push_back(std::move(file));
    }
  }
  return files;
}

/// Writes the file as `path` and reads it again: every tensor's bytes must be those it came from.
void write_checked(const fs::path& path, NewFile& file) {
  // Widest first, as the reference writer orders them, so that every tensor stays aligned.
  std::stable_sort(file.pieces.begin(), file.pieces.end(), [](const Piece& a, const Piece& b) {
    return dtype_bits(a.view.dtype) > dtype_bits(b.view.dtype);
  });
  std::vector<TensorPlan> plans;
  for (const Piece& piece : file.pieces) {
    plans.push_back({piece.name, piece.view.dtype, piece.view.shape});
  }
  SafetensorsWriter writer(path, plans, file.metadata);
  for (const Piece& piece : file.pieces) {
    writer.write({piece.view.data, piece.view.bytes});
  }
  writer.finish();
  const SafetensorsFile written = SafetensorsFile::open(path);
  std::map<std::string, TensorView> views;
  for (const SafetensorsRecord& record : written.header().records) {
    views[record.name] = written.view(record);
  }
  for (const Piece& piece : file.pieces) {
    const TensorView& copy = views[piece.name];
    if (copy.bytes != piece.view.bytes ||
        (copy.bytes > 0 && std::memcmp(copy.data, piece.view.data, copy.bytes) != 0)) {
      fs::remove(path);
      throw Error({.code = "fix.copy-differs",
                   .what = "the copy of a tensor is not what was written",
                   .where = fmt::format("{}, {}", path.string(), piece.name),
                   .expected = "the same bytes",
                   .actual = "other bytes",
                   .hint = "the disk or the memory is faulty; the old file is as it was"},
                  ErrorKind::kInternal);
    }
  }
}

/// A file name that nothing in the folder has: "model-00001-of-00002-r1.safetensors".
std::string fresh_name(const fs::path& folder, const std::string& old) {
  const std::string stem = old.substr(0, old.rfind(".safetensors"));
  for (int i = 1;; ++i) {
    const std::string name = fmt::format("{}-r{}.safetensors", stem, i);
    if (!fs::exists(folder / name)) {
      return name;
    }
  }
}

std::vector<HeaderTensor> tensors_after(const Context& context, const std::vector<NewFile>& files,
                                        const std::map<std::string, std::string>& new_names) {
  std::vector<HeaderTensor> after;
  for (const HeaderTensor& tensor : context.merged.tensors) {
    if (!new_names.contains(tensor.file)) {
      after.push_back(tensor);
    }
  }
  for (const NewFile& file : files) {
    for (const Piece& piece : file.pieces) {
      HeaderTensor tensor;
      tensor.name = piece.name;
      tensor.bytes = piece.view.bytes;
      tensor.file = new_names.at(file.file);
      after.push_back(std::move(tensor));
    }
  }
  return after;
}

/// Shards get new names and the new index, replaced in one rename, names them; the old shards go
/// out of sight afterwards.
void switch_by_index(const Context& context, std::vector<NewFile>& files) {
  const fs::path& folder = context.merged.scan.path;
  std::map<std::string, std::string> new_names;
  for (NewFile& file : files) {
    new_names[file.file] = fresh_name(folder, file.file);
    write_checked(folder / (new_names[file.file] + ".new"), file);
  }
  for (const auto& [old, name] : new_names) {
    fs::rename(folder / (name + ".new"), folder / name);
  }
  replace_text(folder / kWeightsIndex, index_text(tensors_after(context, files, new_names),
                                                  context.merged.json(kWeightsIndex)));
  for (const auto& [old, name] : new_names) {
    fs::rename(folder / old, folder / (old + ".bak"));
  }
}

/// Replaces one file, the old one kept beside it.
void replace_weights(const fs::path& folder, NewFile& file) {
  const fs::path fresh = folder / (file.file + ".new");
  write_checked(fresh, file);
  replace_with(folder / file.file, fresh);
}

}  // namespace

bool is_weight_edit(const Edit& edit) {
  return edit.kind == Edit::Kind::kRenameTensor || edit.kind == Edit::Kind::kDropTensor ||
         edit.kind == Edit::Kind::kAddTensor || edit.kind == Edit::Kind::kSetFormat;
}

std::string index_text(const std::vector<HeaderTensor>& tensors, const nlohmann::json* old_index) {
  nlohmann::ordered_json index;
  index["metadata"] = nlohmann::ordered_json::object();
  if (old_index != nullptr && old_index->contains("metadata") &&
      old_index->at("metadata").is_object()) {
    for (const auto& [key, value] : old_index->at("metadata").items()) {
      index["metadata"][key] = value;
    }
  }
  std::uint64_t total = 0;
  std::map<std::string, std::string> files;
  for (const HeaderTensor& tensor : tensors) {
    total += tensor.bytes;
    files[tensor.name] = tensor.file;
  }
  index["metadata"]["total_size"] = total;
  index["weight_map"] = files;
  return index.dump(2) + "\n";
}

void edit_weights(const Context& context, const std::vector<Edit>& edits) {
  const fs::path& folder = context.merged.scan.path;
  std::vector<NewFile> files = new_files(context, edits);
  const bool renamed =
      std::any_of(files.begin(), files.end(), [](const NewFile& file) { return file.renamed; });
  const bool single = context.merged.weight_files.size() == 1 &&
                      context.merged.weight_files.front() == kWeightsFile;
  if (renamed && !single) {
    switch_by_index(context, files);
    return;
  }
  if (renamed && context.merged.index) {
    // One file needs no index, and without it one rename switches.
    move_to(folder / kWeightsIndex, kMovedFolder);
  }
  for (NewFile& file : files) {
    replace_weights(folder, file);
  }
}

void rename_pairs(const Context& context, const std::vector<Edit>& edits) {
  constexpr const char* kAdapter = "adapter_model.safetensors";
  std::map<std::string, std::string> names;
  for (const Edit& edit : edits) {
    if (edit.kind == Edit::Kind::kRenamePair) {
      names[edit.name] = edit.to;
    }
  }
  if (names.empty()) {
    return;
  }
  const SafetensorsFile* old = opened(context.adapter->scan, kAdapter);
  MG_CHECK(old != nullptr, "an edit of an adapter that cannot be read");
  NewFile file = {.file = kAdapter, .pieces = {}, .metadata = old->header().metadata};
  for (const SafetensorsRecord& record : old->header().records) {
    const auto it = names.find(record.name);
    file.pieces.push_back({it == names.end() ? record.name : it->second, old->view(record)});
  }
  replace_weights(context.adapter->scan.path, file);
}

}  // namespace mg::lint
