#include "harness/lint/edit.h"

#include <fmt/format.h>

#include <utility>

namespace mg::lint {

namespace {

Edit on_file(Edit::Kind kind, std::string file) {
  Edit edit;
  edit.kind = kind;
  edit.file = std::move(file);
  return edit;
}

Edit renaming(Edit::Kind kind, std::string name, std::string to) {
  Edit edit;
  edit.kind = kind;
  edit.name = std::move(name);
  edit.to = std::move(to);
  return edit;
}

}  // namespace

Edit set_key(std::string file, std::vector<std::string> path, std::optional<nlohmann::json> value) {
  Edit edit = on_file(Edit::Kind::kSetKey, std::move(file));
  edit.path = std::move(path);
  edit.value = std::move(value);
  return edit;
}

Edit copy_file(Source from, std::string file) {
  Edit edit = on_file(Edit::Kind::kCopyFile, std::move(file));
  edit.from = from;
  return edit;
}

Edit write_text(std::string file, std::string text) {
  Edit edit = on_file(Edit::Kind::kWriteText, std::move(file));
  edit.value = std::move(text);
  return edit;
}

Edit move_aside(std::string file) {
  return on_file(Edit::Kind::kMoveAside, std::move(file));
}

Edit write_index() {
  return on_file(Edit::Kind::kWriteIndex, {});
}

Edit rename_tensor(std::string name, std::string to) {
  return renaming(Edit::Kind::kRenameTensor, std::move(name), std::move(to));
}

Edit rename_pair(std::string name, std::string to) {
  return renaming(Edit::Kind::kRenamePair, std::move(name), std::move(to));
}

Edit drop_tensor(std::string name) {
  return renaming(Edit::Kind::kDropTensor, std::move(name), {});
}

Edit add_tensor(Source from, std::string name, std::string to) {
  Edit edit = renaming(Edit::Kind::kAddTensor, std::move(name), std::move(to));
  edit.from = from;
  return edit;
}

Edit set_format(std::string file) {
  return on_file(Edit::Kind::kSetFormat, std::move(file));
}

std::string describe(const Edit& edit) {
  const std::string_view from = edit.from == Source::kBase ? "base" : "adapter";
  switch (edit.kind) {
    case Edit::Kind::kSetKey: {
      const std::string key = fmt::format("{}", fmt::join(edit.path, "."));
      return edit.value ? fmt::format("{}: set {} to {}", edit.file, key, edit.value->dump())
                        : fmt::format("{}: delete {}", edit.file, key);
    }
    case Edit::Kind::kCopyFile:
      return fmt::format("{}: copy from the {}", edit.file, from);
    case Edit::Kind::kWriteText:
      return fmt::format("{}: write", edit.file);
    case Edit::Kind::kMoveAside:
      return fmt::format("{}: move to {}/", edit.file, kMovedFolder);
    case Edit::Kind::kWriteIndex:
      return "model.safetensors.index.json: write from the shards' headers";
    case Edit::Kind::kRenameTensor:
      return fmt::format("{}: rename to {}", edit.name, edit.to);
    case Edit::Kind::kDropTensor:
      return fmt::format("{}: leave out", edit.name);
    case Edit::Kind::kAddTensor:
      return fmt::format("{}: copy from the {}'s {}", edit.to, from, edit.name);
    case Edit::Kind::kRenamePair:
      return fmt::format("the adapter's {}: rename to {}", edit.name, edit.to);
    case Edit::Kind::kSetFormat:
      return fmt::format("{}: write \"format\": \"pt\" into the header", edit.file);
  }
  return {};
}

}  // namespace mg::lint
