#include "harness/cli/jsonl.h"

#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

#include "harness/io/json_file.h"
#include "kernels/core/error.h"

namespace mg {

void each_json_line(std::istream& in,
                    const std::function<void(const nlohmann::ordered_json&)>& use) {
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    const std::string where = "standard input, line " + std::to_string(number);
    const nlohmann::ordered_json json = parse_ordered_json(line, where);
    if (!json.is_object()) {
      throw Error({.code = "jsonl.not-an-object",
                   .what = "a line is not a JSON object",
                   .where = where,
                   .expected = "an object",
                   .actual = std::string(json_kind(json)),
                   .hint = {}});
    }
    use(json);
  }
}

void write_json_line(std::ostream& out, const nlohmann::ordered_json& json) {
  out << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
  out.flush();
}

}  // namespace mg
