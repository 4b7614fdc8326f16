#include "harness/lint/edit.h"

#include <fmt/format.h>

#include <utility>

namespace mg::lint {

Edit set_key(std::string file, std::vector<std::string> path, std::optional<nlohmann::json> value) {
  Edit edit;
  edit.kind = Edit::Kind::kSetKey;
  edit.file = std::move(file);
  edit.path = std::move(path);
  edit.value = std::move(value);
  return edit;
}

Edit copy_file(Source from, std::string file) {
  Edit edit;
  edit.kind = Edit::Kind::kCopyFile;
  edit.from = from;
  edit.file = std::move(file);
  return edit;
}

Edit write_text(std::string file, std::string text) {
  Edit edit;
  edit.kind = Edit::Kind::kWriteText;
  edit.file = std::move(file);
  edit.value = std::move(text);
  return edit;
}

Edit move_aside(std::string file) {
  Edit edit;
  edit.kind = Edit::Kind::kMoveAside;
  edit.file = std::move(file);
  return edit;
}

Edit write_index() {
  Edit edit;
  edit.kind = Edit::Kind::kWriteIndex;
  return edit;
}

Edit rename_tensor(std::string name, std::string to) {
  Edit edit;
  edit.kind = Edit::Kind::kRenameTensor;
  edit.name = std::move(name);
  edit.to = std::move(to);
  return edit;
}

Edit drop_tensor(std::string name) {
  Edit edit;
  edit.kind = Edit::Kind::kDropTensor;
  edit.name = std::move(name);
  return edit;
}

Edit add_tensor(Source from, std::string name, std::string to) {
  Edit edit;
  edit.kind = Edit::Kind::kAddTensor;
  edit.from = from;
  edit.name = std::move(name);
  edit.to = std::move(to);
  return edit;
}

Edit set_format(std::string file) {
  Edit edit;
  edit.kind = Edit::Kind::kSetFormat;
  edit.file = std::move(file);
  return edit;
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
    case Edit::Kind::kSetFormat:
      return fmt::format("{}: write \"format\": \"pt\" into the header", edit.file);
  }
  return {};
}

}  // namespace mg::lint
