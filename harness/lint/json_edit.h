// Changes one member of a JSON text and leaves every other byte as it is, so that a diff shows the
// edit and nothing else, and numbers keep the spelling they had.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mg::lint {

/// `text` with the member at `path` set to `value`, or deleted (nothing).  Missing objects on the
/// way are not made: a path that leads nowhere changes nothing, except that a missing last member
/// is appended to its object.  `text` must be JSON that json_file.h accepts; the result is parsed
/// and compared before it is returned.  Throws Error "json.*" as parse_json.
std::string edit_json(std::string_view text, const std::vector<std::string>& path,
                      const std::optional<nlohmann::json>& value, std::string_view file);

}  // namespace mg::lint
