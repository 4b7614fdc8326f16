// The edits that --fix can make, as values: what a rule proposes, what a dry run shows and what
// fix.h carries out.  Each is safe by itself: the old file stays beside the new one as NAME.bak.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace mg::lint {

struct Edit {
  enum class Kind : std::uint8_t {
    kSetKey,        // sets `path` of the JSON `file` to `value`, or deletes it; other text stays
    kCopyFile,      // takes `file` from another folder
    kWriteText,     // `file` gets the text `value`
    kMoveAside,     // moves `file` into kMovedFolder, where no loader looks
    kWriteIndex,    // writes the index anew from the shards' headers
    kRenameTensor,  // `name` becomes `to`; header and index change, bytes do not
    kDropTensor,    // leaves `name` out
    kAddTensor,     // adds the tensor `name` of another folder as `to`
    kSetFormat,     // writes "format": "pt" into the header of `file`
    kRenamePair,    // of the adapter's file: `name` becomes `to`; bytes do not change
  };
  enum class Source : std::uint8_t { kBase, kAdapter };

  Kind kind = Kind::kSetKey;
  Source from = Source::kBase;
  std::string file;
  std::vector<std::string> path;
  std::optional<nlohmann::json> value;
  std::string name;
  std::string to;
};

using Source = Edit::Source;

inline constexpr const char* kMovedFolder = "mergegauge-moved";

Edit set_key(std::string file, std::vector<std::string> path, std::optional<nlohmann::json> value);
Edit copy_file(Source from, std::string file);
Edit write_text(std::string file, std::string text);
Edit move_aside(std::string file);
Edit write_index();
Edit rename_tensor(std::string name, std::string to);
Edit drop_tensor(std::string name);
Edit add_tensor(Source from, std::string name, std::string to);
Edit set_format(std::string file);
Edit rename_pair(std::string name, std::string to);

/// "config.json: delete text_config.quantization_config"
std::string describe(const Edit& edit);

}  // namespace mg::lint
