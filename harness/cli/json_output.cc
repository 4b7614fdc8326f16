#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "harness/cli/command.h"
#include "reports/atomic_file.h"

namespace mg {

void write_json(const nlohmann::ordered_json& json, const std::string& path) {
  // File names need not be UTF-8; what is not is replaced rather than refused.
  const std::string text =
      json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  if (path == "-") {
    fmt::print("{}", text);
  } else {
    write_file_atomically(path, text);
  }
}

}  // namespace mg
